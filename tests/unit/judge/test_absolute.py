"""An SLO held for more than one run: the spread between runs counts, and is calibrated."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scenes import END, HARM, rows, scene, steady
from streams import Weather, log_ratios

from faultload.judge import Verdict, judge
from faultload.judge.absolute import HISTORY_MIN, UNEVEN_MIN, bounds_between, judge_absolute
from faultload.judge.interval import Slots, interval
from faultload.record import PhaseName
from faultload.spec.experiment import Expects

BUDGET = 0.05
ORDINARY = Weather(rate=33, length_s=300)


def verdicts(weather: Weather, share: float, runs: int) -> list[Verdict]:
    """Return what is said of runs whose long-run share of bad requests is `share`.

    Each has a history of its own: 20 runs that were accepted at half the budget.
    """
    accepted = log_ratios(weather.runs(BUDGET / 2, 300, seed=1))
    draw = np.random.default_rng(3)
    found = [
        bounds_between([run], draw.choice(accepted, 20, replace=False).tolist())
        for run in weather.runs(share, runs, seed=2)
    ]
    return [judge_absolute(bounds, BUDGET) for bounds in found if bounds is not None]


@pytest.mark.parametrize(
    ("weather", "power"),
    [
        (ORDINARY, 0.95),
        (Weather(33, 300, spread=0.2), 0.85),
        (Weather(33, 300, burst_s=8, contrast=15, spread=0.2), 0.4),
    ],
)
def test_error_rates(weather: Weather, power: float) -> None:
    """At the exact limit at most 7 % pass, and half the budget is seen where runs differ little.

    The full size is `benchmarks/judge_calibration.py`.
    """
    at_limit = verdicts(weather, BUDGET, 400)
    at_half = verdicts(weather, BUDGET / 2, 200)

    assert at_limit.count(Verdict.PASS) / len(at_limit) <= 0.07
    assert at_half.count(Verdict.PASS) / len(at_half) >= power
    assert Verdict.FAIL not in at_half


def test_what_runs_differ_by_is_never_left_out() -> None:
    """The interval is wider than the one run's own, and narrower over more runs."""
    history = log_ratios(Weather(33, 300, spread=0.3).runs(0.02, 20, seed=1))
    runs = ORDINARY.runs(0.02, 4, seed=3)
    low, high = bounds_between(runs[:1], history) or (0.0, 0.0)
    alone = interval(runs[0])
    assert alone is not None

    assert low < alone[0]
    assert high > alone[1]
    assert (bounds_between(runs, history) or (0.0, 1.0))[1] < high


@pytest.mark.parametrize("history", [[], [-4.0] * (HISTORY_MIN - 1), [-math.inf] * 30])
def test_too_little_history_says_nothing(history: list[float]) -> None:
    """Without a spread there is no claim about other runs."""
    assert bounds_between(ORDINARY.runs(0.02, 1, seed=1), history) is None


def test_a_few_uneven_runs_say_nothing() -> None:
    """Where bursts make the ratio, few runs tell no spread; many tell how lucky one may be."""
    uneven = [-3.0, -5.0] * UNEVEN_MIN
    run = ORDINARY.runs(0.02, 1, seed=1)

    assert bounds_between(run, uneven[: UNEVEN_MIN - 1]) is None
    bounds = bounds_between(run, uneven)
    assert bounds is not None
    mean = math.log((math.exp(-3) + math.exp(-5)) / 2)
    assert bounds[1] >= run[0].ratio * math.exp(mean + 5) - 1e-12


def test_incidents_in_some_runs_only_are_no_spread() -> None:
    """Where most runs have no bad request at all, a spotless run is no sign of those to come.

    One spotless run in twenty is left out; the spread of the rest must not stand for more of them.
    """
    known = [math.log(0.02) + x for x in np.linspace(-0.2, 0.2, 19)]
    spotless = Slots(0.0, np.zeros(300), np.full(300, 33.0))

    assert bounds_between([spotless], [*known, -math.inf]) is not None
    assert bounds_between([spotless], [*known, -math.inf, -math.inf]) is None
    assert bounds_between([spotless], [*known, *[-math.inf] * 20]) is None


def test_nothing_bad_in_a_few_requests_proves_little() -> None:
    """Zero of 200 cannot pass a budget of 1 % of all runs; of 10,000 it can."""
    history = [math.log(0.002) + x for x in np.linspace(-0.2, 0.2, 20)]

    def high(events: int) -> float:
        slots = Slots(0.0, np.zeros(100), np.full(100, events / 100))
        return (bounds_between([slots], history) or (0.0, 1.0))[1]

    assert high(200) > 0.01
    assert high(10_000) < 0.01


def test_no_events_say_nothing() -> None:
    """A phase without requests has no interval, whatever other runs did."""
    empty = Slots(0.0, np.zeros(10), np.zeros(10))

    assert bounds_between([empty], [-4.0, -4.1] * 10) is None


def test_history_turns_a_near_pass_into_undecided() -> None:
    """Just under the budget passes for this run only; with history it is not certified."""
    due = steady()
    bad = (np.arange(len(due)) % 25 == 0) & (due < END)
    evidence = scene(rows(due, bad & (due < HARM)), expects=Expects())
    history = {"availability": [math.log(0.02) + x for x in np.linspace(-0.3, 0.3, 20)]}

    alone, among = (
        judge(evidence),
        judge(replace(evidence, history=history)),
    )

    assert alone.verdict is Verdict.PASS
    assert among.verdict is Verdict.INCONCLUSIVE
    assert "Runs like it may have up to" in among.reason
    assert [p.between_runs for p in among.phases if p.phase is PhaseName.BASELINE] == [True]
    assert not any(p.between_runs for p in alone.phases)
