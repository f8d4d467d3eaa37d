"""The gate in looks, by trace: verdicts, what is no comparison, and its error rates in small."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from faultload.judge import GateResult, GateRule, Transform, Verdict, gate, look
from faultload.judge.gate import ratio_spread

TRACES = ("a", "b", "c", "d", "e")
RULE = GateRule()
ERRORS = GateRule(
    transform=Transform.RATIO,
    effect_min=0.002,
    tolerated=0.01,
    spread_min=ratio_spread(events=1000, design_effect=12.0),
)

Side = dict[str, list[float]]


def side(
    generator: np.random.Generator, count: int = 1, worse: float = 0.0, spread: float = 0.03
) -> Side:
    """Return trials by trace; each trace has its own level."""
    return {
        trace: list((0.1 + 0.05 * level) * (1 + worse) * np.exp(generator.normal(0, spread, count)))
        for level, trace in enumerate(TRACES)
    }


def heavy(generator: np.random.Generator, count: int) -> Side:
    """Return trials of which some are far off."""
    return {trace: list(np.exp(0.03 * generator.standard_t(3, count))) for trace in TRACES}


def first(trials: Side, count: int) -> Side:
    """Return what the first stages ran."""
    return {trace: numbers[:count] for trace, numbers in trials.items()}


def played(old: Side, new: Side, history: Side | None = None, rule: GateRule = RULE) -> GateResult:
    """Look stage by stage until it is decided."""
    for stage in range(1, rule.stages + 1):
        result = look(first(old, stage), first(new, stage), rule, stage=stage, history=history)
        if result.verdict is not Verdict.INCONCLUSIVE:
            break
    return result


def share(verdict: Verdict, results: list[GateResult]) -> float:
    """Return how many say so."""
    return sum(result.verdict is verdict for result in results) / len(results)


@pytest.mark.parametrize("draw", [side, heavy])
@pytest.mark.parametrize("has_history", [True, False])
def test_false_alarms_are_rare_over_all_looks(draw: Callable[..., Side], has_history: bool) -> None:
    """A thing compared with itself fails in 1 % at most, also when some trials are far off.

    Of 150 gates more than 6 fail with a chance of 0.1 % when the rate is 1 %.
    """
    generator = np.random.default_rng(3)
    results = [
        played(draw(generator, 3), draw(generator, 3), draw(generator, 4) if has_history else None)
        for _ in range(150)
    ]

    assert share(Verdict.FAIL, results) <= 6 / 150
    assert share(Verdict.PASS, results) >= 0.9


def test_a_tenth_worse_is_found_and_rarely_passed() -> None:
    """Thirty trials whose noise is 5 % find 10 % in 19 of 20 gates, and 20 % always."""
    generator = np.random.default_rng(4)
    found = {
        worse: [
            played(
                side(generator, 3, 0.0, 0.05),
                side(generator, 3, worse, 0.05),
                side(generator, 4, 0.0, 0.05),
            )
            for _ in range(100)
        ]
        for worse in (0.1, 0.2)
    }

    assert share(Verdict.FAIL, found[0.1]) >= 0.9
    assert share(Verdict.PASS, found[0.1]) <= 0.07
    assert share(Verdict.FAIL, found[0.2]) >= 0.99


def test_a_quiet_past_does_not_make_a_busy_day_fail() -> None:
    """Stored trials that are three times as quiet as today's leave false alarms rare."""
    generator = np.random.default_rng(6)
    results = [
        look(
            side(generator, 1, 0.0, 0.06),
            side(generator, 1, 0.0, 0.06),
            RULE,
            stage=1,
            history=side(generator, 4, 0.0, 0.02),
        )
        for _ in range(200)
    ]

    assert share(Verdict.FAIL, results) <= 0.03


def test_history_decides_earlier_and_is_never_compared() -> None:
    """With little noise on record one trial a trace is enough; another level there is no matter."""
    generator = np.random.default_rng(2)
    old, new = side(generator), side(generator, worse=0.2)
    past = side(generator, 4)
    other_day = {trace: [3 * x for x in numbers] for trace, numbers in past.items()}

    results = [look(old, new, RULE, stage=1, history=h) for h in (past, other_day)]

    assert [result.verdict for result in results] == [Verdict.FAIL] * 2
    assert results[0].p == pytest.approx(results[1].p)


def test_levels_of_traces_are_no_noise() -> None:
    """Traces that differ tenfold leave a small difference visible."""
    generator = np.random.default_rng(8)
    old = {
        trace: [10**i * x for x in side(generator, 2, 0.0, 0.01)[trace]]
        for i, trace in enumerate(TRACES)
    }
    new = {trace: [1.1 * x for x in numbers] for trace, numbers in old.items()}

    result = look(old, new, RULE, stage=2)

    assert result.verdict is Verdict.FAIL
    assert result.effect == pytest.approx(0.1)


def test_undecided_says_how_many_more_and_what_could_be_seen() -> None:
    """Noise of 12 % decides nothing about 10 %; what is missing comes in whole rounds of traces."""
    generator = np.random.default_rng(1)
    result = played(side(generator, 3, 0.0, 0.12), side(generator, 3, 0.1, 0.12))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.stage == 3
    assert result.trials_needed >= 15
    assert result.trials_needed % len(TRACES) == 0
    assert result.effect_detectable > 0.1
    assert str(result.trials_needed) in result.reason


def test_a_saturated_platform_never_passes_and_is_told() -> None:
    """Trials that differ by more than 15 % under one trace come from a platform past its knee."""
    generator = np.random.default_rng(5)
    old, new = side(generator, 3, 0.0, 0.25), side(generator, 3, -0.6, 0.25)

    result = look(old, new, RULE, stage=3)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "saturated" in result.reason


def test_a_saturated_platform_may_fail() -> None:
    """A worsening beyond all noise is proven whatever the noise."""
    generator = np.random.default_rng(5)

    result = look(side(generator, 3, 0.0, 0.2), side(generator, 3, 2.0, 0.2), RULE, stage=3)

    assert result.verdict is Verdict.FAIL
    assert "saturated" in result.reason


def with_one(trials: Side, number: float) -> Side:
    """Return the trials, one of them replaced."""
    return trials | {"c": [number, *trials["c"][1:]]}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 0.0, -1.0])
@pytest.mark.parametrize("where", ["baseline", "candidate", "stored history"])
def test_a_number_that_is_none_is_invalid(number: float, where: str) -> None:
    """A number that is missing, infinite, zero or negative is no comparison, and says where."""
    generator = np.random.default_rng(0)
    trials = {name: side(generator, 2) for name in ("baseline", "candidate", "stored history")}
    trials[where] = with_one(trials[where], number)

    result = look(
        trials["baseline"], trials["candidate"], RULE, stage=2, history=trials["stored history"]
    )

    assert result.verdict is Verdict.INVALID
    assert where in result.reason
    assert "'c'" in result.reason


@pytest.mark.parametrize("missing", ["baseline", "candidate"])
@pytest.mark.parametrize("is_empty", [True, False])
def test_a_trace_of_one_side_only_is_invalid(missing: str, is_empty: bool) -> None:
    """A trace that one side never ran would compare traces instead of sides."""
    generator = np.random.default_rng(0)
    trials = {name: side(generator, 2) for name in ("baseline", "candidate")}
    del trials[missing]["d"]
    if is_empty:
        trials[missing]["d"] = []

    result = look(trials["baseline"], trials["candidate"], RULE, stage=2)

    assert result.verdict is Verdict.INVALID
    assert f"'d' has no trial of the {missing}" in result.reason


def test_no_trial_at_all_decides_nothing() -> None:
    """No data is never a pass."""
    for nothing in ({}, {"a": []}):
        result = look(nothing, nothing, RULE, stage=1)

        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.trials_needed == 5


def test_one_trial_a_side_decides_nothing() -> None:
    """Without noise on record one trial could be anything."""
    result = look({"a": [1.0]}, {"a": [5.0]}, RULE, stage=1)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.trials_needed == 4
    assert result.effect is None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_identical_sides_never_pass(count: int) -> None:
    """The same trials given twice prove nothing, in whatever order they come."""
    trials = side(np.random.default_rng(0), count)
    turned = {trace: numbers[::-1] for trace, numbers in reversed(trials.items())}

    result = look(trials, turned, RULE, stage=count, history=side(np.random.default_rng(1), 4))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "same numbers" in result.reason


def test_sides_that_do_not_vary_have_a_noise_of_one_per_cent() -> None:
    """Trials that agree to the last digit agree by luck: 1 % of difference is not certain."""
    old = {trace: [1.0] for trace in TRACES}
    new = {trace: [1.031] for trace in TRACES}

    result = look(old, new, GateRule(tolerated=0.04), stage=1)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.effect_detectable > 0.02


def test_unbalanced_traces_weigh_alike() -> None:
    """A trace that was run more often on one side does not pull the result to its level."""
    generator = np.random.default_rng(9)
    old, new = side(generator, 3), side(generator, 3)
    old["a"] *= 3
    new["e"] = new["e"][:1]

    result = look(old, new, RULE, stage=3)

    assert result.verdict is Verdict.PASS
    assert abs(result.effect) < 0.03


def test_the_interval_agrees_with_the_verdict() -> None:
    """Interval and verdict come from the same test: a pass is an upper bound under 10 %."""
    generator = np.random.default_rng(10)
    for stage in (1, 2, 3):
        for _ in range(20):
            result = look(
                side(generator, stage, 0.0, 0.06),
                side(generator, stage, 0.03, 0.06),
                RULE,
                stage=stage,
            )
            low, high = result.interval

            assert low <= result.effect <= high
            if result.verdict is not Verdict.FAIL:
                assert (result.verdict is Verdict.PASS) == (high < 0.1)


def test_the_same_trials_give_the_same_answer() -> None:
    """Drawn arrangements come from the rule's seed."""
    old, new = side(np.random.default_rng(1), 3), side(np.random.default_rng(2), 3)

    assert look(old, new, RULE, stage=3) == look(old, new, RULE, stage=3)


@pytest.mark.parametrize("stage", [0, 4])
def test_a_look_beyond_the_rule_is_refused(stage: int) -> None:
    """Each look costs its share of alpha: there is none for a fourth."""
    trials = side(np.random.default_rng(0))

    with pytest.raises(ValueError, match="stage of 1 to 3"):
        look(trials, trials, RULE, stage=stage)


def ratios(generator: np.random.Generator, count: int, rate: float) -> Side:
    """Return error ratios of trials of 1000 requests."""
    return {trace: list(generator.binomial(1000, rate, count) / 1000) for trace in TRACES}


def test_errors_are_compared_in_points() -> None:
    """Two more errors in a hundred fail; the effect is a difference of shares."""
    generator = np.random.default_rng(1)
    result = played(ratios(generator, 3, 0.002), ratios(generator, 3, 0.022), rule=ERRORS)

    assert result.verdict is Verdict.FAIL
    assert result.effect == pytest.approx(0.02, abs=0.005)
    assert "points" in result.reason


def test_no_error_on_either_side_passes_when_requests_were_enough() -> None:
    """None in 10,000 requests excludes a point more; one look at 5,000 does not, nor unknown."""
    none = {trace: [0.0, 0.0] for trace in TRACES}

    assert look(none, none, ERRORS, stage=2).verdict is Verdict.PASS
    unknown = GateRule(transform=Transform.RATIO, tolerated=0.01)
    assert look(none, none, unknown, stage=2).verdict is Verdict.INCONCLUSIVE
    few = GateRule(
        transform=Transform.RATIO, tolerated=0.01, spread_min=ratio_spread(20, design_effect=12.0)
    )
    assert look(none, none, few, stage=2).verdict is Verdict.INCONCLUSIVE


def test_bursts_in_few_trials_do_not_pass_for_their_luck() -> None:
    """A point more, all of it in two trials of ten, moves no median, and yet is a point more."""
    old = {trace: [0.0, 0.001] for trace in TRACES}
    new = old | {"a": [0.05, 0.0], "b": [0.001, 0.05]}

    result = look(old, new, ERRORS, stage=2)

    assert result.effect == pytest.approx(0.01, abs=0.001)
    assert result.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("number", [math.nan, -0.001, 1.001, math.inf])
def test_a_share_outside_zero_and_one_is_invalid(number: float) -> None:
    """Ratios have their own domain: zero and one are in it."""
    trials = {trace: [0.0, 1.0] for trace in TRACES}

    assert look(with_one(trials, number), trials, ERRORS, stage=2).verdict is Verdict.INVALID
    assert look(trials, trials, ERRORS, stage=2).verdict is not Verdict.INVALID


@pytest.mark.parametrize("candidate", [1.0, 0.995, 0.0])
def test_a_baseline_that_serves_nobody_is_invalid(candidate: float) -> None:
    """Where all are bad nothing can get worse: neither a pass nor a crash, and why."""
    rule = GateRule(transform=Transform.RATIO, tolerated=0.01, spread_min=0.01)
    sides = ({trace: [share] * 2 for trace in "abcde"} for share in (1.0, candidate))
    result = look(*sides, rule, stage=1)
    assert result.verdict is Verdict.INVALID
    assert "100.0% of the baseline's are bad already" in result.reason
    assert gate([1.0] * 10, [candidate] * 10, rule).verdict is Verdict.INVALID


@pytest.mark.parametrize("count", [1, 2])
def test_each_look_has_its_share_of_both_error_rates(count: int) -> None:
    """One of three looks is a look that is the only one, at a third of alpha and of gamma."""
    generator = np.random.default_rng(11)
    old, new = side(generator, count), side(generator, count, worse=0.05)
    alone = GateRule(alpha=RULE.alpha / 3, gamma=RULE.gamma / 3, stages=1)

    assert look(old, new, RULE, stage=1) == look(old, new, alone, stage=1)


@pytest.mark.parametrize(("traces", "count", "bad"), [(6, 1, 0.3), (5, 3, 0.3)])
def test_a_burst_that_the_scale_hides_is_not_passed(traces: int, count: int, bad: float) -> None:
    """One trial full of errors hardly moves the mean on the scale: plain means count, too."""
    mean = bad / (traces * count)
    none = {str(trace): [0.0] * count for trace in range(traces)}
    burst = none | {"0": [bad, *[0.0] * (count - 1)]}
    tolerated = 0.12 if count == 1 else 0.75 * mean
    rule = replace(ERRORS, stages=1, tolerated=tolerated)

    result = look(none, burst, rule, stage=1)

    assert result.effect == pytest.approx(mean)
    assert result.verdict is Verdict.INCONCLUSIVE
