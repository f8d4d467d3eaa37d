"""The regression gate: its verdicts, and its error rates measured on synthetic trials."""

import numpy as np
import pytest

from faultload.judge import GateRule, Verdict, gate
from faultload.judge.arrangements import EXACT_MAX


def trials(generator: np.random.Generator, count: int, worse: float, spread: float) -> list[float]:
    """Return one number a trial: log-normal around 0.1 s, worsened."""
    return list(0.1 * (1 + worse) * np.exp(generator.normal(0, spread, count)))


def rates(
    worse: float, repeats: int = 300, count: int = 5, spread: float = 0.03
) -> dict[str, float]:
    """Return how often each verdict comes."""
    generator = np.random.default_rng(11)
    verdicts = [
        gate(trials(generator, count, 0, spread), trials(generator, count, worse, spread)).verdict
        for _ in range(repeats)
    ]
    return {verdict.value: verdicts.count(verdict) / repeats for verdict in Verdict}


def test_false_alarms_are_rare() -> None:
    """The same thing on both sides fails in at most 1 % of comparisons, and mostly passes."""
    found = rates(worse=0.0)

    assert found["fail"] <= 0.02
    assert found["pass"] >= 0.9


def test_false_alarms_are_rare_with_drawn_arrangements() -> None:
    """Ten trials a side are too many to look at every arrangement; the rate holds."""
    found = rates(worse=0.0, repeats=100, count=10)

    assert found["fail"] <= 0.03


def test_a_tenth_worse_is_found() -> None:
    """Five trials a side with a spread of 3 % find a worsening of 10 % most of the time."""
    assert rates(worse=0.10)["fail"] >= 0.8
    assert rates(worse=0.20)["fail"] >= 0.99


def test_a_wrong_pass_is_rare() -> None:
    """What is worse by just what is tolerated passes in at most 5 %."""
    assert rates(worse=0.10, spread=0.06)["pass"] <= 0.07


def test_noise_is_inconclusive_and_says_how_many_trials_are_needed() -> None:
    """Five trials with a spread of 20 % decide nothing about 10 %."""
    generator = np.random.default_rng(5)

    result = gate(trials(generator, 5, 0.05, 0.2), trials(generator, 5, 0.05, 0.2))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.trials_needed > 50
    assert result.effect_detectable > 0.3


@pytest.mark.parametrize(
    ("baseline", "candidate", "verdict"),
    [
        ([], [], Verdict.INCONCLUSIVE),
        ([1.0], [1.0, 1.1], Verdict.INCONCLUSIVE),
        ([1.0] * 4, [2.0] * 4, Verdict.INCONCLUSIVE),
        ([1.0, float("nan")], [1.0, 2.0], Verdict.INVALID),
        ([1.0, float("inf")], [1.0, 2.0], Verdict.INVALID),
        ([0.0, 1.0], [1.0, 2.0], Verdict.INVALID),
    ],
)
def test_what_is_no_comparison(
    baseline: list[float], candidate: list[float], verdict: Verdict
) -> None:
    """Too few trials decide nothing; missing numbers are no comparison."""
    assert gate(baseline, candidate).verdict is verdict


def test_equal_numbers_are_compared_like_others() -> None:
    """Recoveries are whole seconds, so that both sides may well agree."""
    assert gate([2.0] * 5, [2.0] * 5).verdict is Verdict.PASS


def test_a_small_worsening_never_fails() -> None:
    """A certain worsening of 1 % is under the minimum effect."""
    old = [1.0, 1.001, 0.999, 1.0005, 0.9995, 1.0]
    result = gate(old, [1.01 * x for x in old])

    assert result.p == pytest.approx(1 / 924, rel=2)
    assert result.verdict is Verdict.PASS


def test_zero_is_a_number_with_an_offset() -> None:
    """Recoveries of 0 s are compared on log(1 + s)."""
    result = gate([0.0, 1.0, 0.0, 2.0, 1.0], [30.0, 28.0, 33.0, 31.0, 29.0], GateRule(offset=1.0))

    assert result.verdict is Verdict.FAIL


def test_the_interval_holds_the_effect_and_agrees_with_the_verdict() -> None:
    """Interval and verdict come from the same test."""
    generator = np.random.default_rng(2)
    result = gate(trials(generator, 6, 0, 0.03), trials(generator, 6, 0, 0.03))

    low, high = result.interval
    assert low <= result.effect <= high
    assert (result.verdict is Verdict.PASS) == (high <= 0.1 + 1e-3)


def test_the_same_trials_give_the_same_answer() -> None:
    """Drawn arrangements come from a seed."""
    generator = np.random.default_rng(4)
    old, new = trials(generator, 12, 0, 0.05), trials(generator, 12, 0.05, 0.05)

    assert gate(old, new) == gate(old, new)
    assert EXACT_MAX < 2_704_156
