"""How often the judge is wrong, on streams of requests whose truth is known; seeds are fixed.

`python benchmarks/judge_calibration.py` computes the tables and writes them into
docs/statistics.md, between the markers there; `--quick` prints smaller ones and writes nothing.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from scenes import slo  # noqa: E402
from streams import (  # noqa: E402
    HOLD_S,
    LOUD,
    QUIET,
    UNSEEN,
    Curve,
    Floats,
    Weather,
    latencies,
    log_ratios,
    random_curve,
    recovering,
    staying,
    truth_s,
)

from faultload.judge import Verdict  # noqa: E402
from faultload.judge.absolute import bounds_between, judge_absolute  # noqa: E402
from faultload.judge.interval import Slots, interval, jeffreys  # noqa: E402
from faultload.judge.recovery import recovery_of  # noqa: E402
from faultload.judge.slo import Events  # noqa: E402
from faultload.judge.tails import find_degraded  # noqa: E402
from faultload.record import Phase, PhaseName  # noqa: E402

PAGE = ROOT / "docs" / "statistics.md"
HISTORY = 20

WEATHERS = {
    "1,000 requests in 120 s": Weather(8.3, 120),
    "10,000 requests in 300 s": Weather(33, 300),
    "100,000 requests in 600 s": Weather(167, 600),
    "10,000; runs differ by 20 %": Weather(33, 300, spread=0.2),
    "10,000; 8 s bursts, and runs differ by 20 %": Weather(33, 300, 0.05, 8, 15, 0.2),
    "10,000; nearly all bad ones in a few bursts": Weather(33, 300, 0.02, 3, 200, 0.1),
}


def share(hits: int, draws: int) -> str:
    """Return a share and its 90 % interval, in percent."""
    low, high = jeffreys(hits, draws)
    return f"**{100 * hits / draws:.1f}** ({100 * low:.1f}-{100 * high:.1f})"


def absolute(draws: int) -> list[str]:
    """Return the table of passes at the exact limit and at half of it."""
    heads = "point estimate | binomial, 95 % | Newey-West, one run | with history"
    lines = [
        f"| streams; budget 5 % / 1 % | {heads} | with history, at half the budget |",
        "|--|--|--|--|--|--|",
    ]
    for name, weather in WEATHERS.items():
        cells: list[list[str]] = [[], [], [], [], []]
        for budget in (0.05, 0.01):
            limit = weather.runs(budget, draws, seed=2)
            half = weather.runs(budget / 2, draws, seed=4)
            said = _histories(weather, budget)
            passes = [
                sum(run.ratio <= budget for run in limit),
                sum(jeffreys(run.bad.sum(), run.events.sum())[1] <= budget for run in limit),
                sum((interval(run) or (0, 1))[1] <= budget for run in limit),
                sum(said(run) for run in limit),
                sum(said(run) for run in half),
            ]
            for cell, hits in zip(cells[:3], passes[:3], strict=True):
                cell.append(f"{100 * hits / draws:.1f}")
            for cell, hits in zip(cells[3:], passes[3:], strict=True):
                cell.append(share(int(hits), draws))
        lines.append(f"| {name} | {' | '.join(' / '.join(cell) for cell in cells)} |")
    return lines


def _histories(weather: Weather, budget: float) -> Callable[[Slots], bool]:
    """Return what passes a run, each time with accepted runs of its own at half the budget."""
    histories = _drawn_histories(weather, budget / 2)

    def passes(run: Slots) -> bool:
        bounds = bounds_between([run], next(histories))
        return bounds is not None and judge_absolute(bounds, budget) is Verdict.PASS

    return passes


def _drawn_histories(weather: Weather, share: float) -> Iterator[list[float]]:
    """Yield histories without end that have no run in common."""
    at_once = 50
    for seed in itertools.count(1000):
        runs = weather.runs(share, HISTORY * at_once, seed)
        yield from (
            log_ratios(runs[start : start + HISTORY]) for start in range(0, len(runs), HISTORY)
        )


BUDGET, END_S, RATES = 0.05, 200, (8, 33, 167)


def _exponential(tau_s: float) -> Curve:
    return lambda t: np.where(
        t < HOLD_S, LOUD, QUIET + (LOUD - QUIET) * np.exp(-(t - HOLD_S) / tau_s)
    )


TUNED: dict[str, Curve] = {
    "step at 6 s": lambda t: np.where(t < 6, LOUD, QUIET),
    "step at 47 s": lambda t: np.where(t < 47, LOUD, QUIET),
    "exponential, 8 s": _exponential(8),
    "exponential, 15 s": _exponential(15),
    "relapse after 15 s": lambda t: np.where((t < 25) | ((t > 40) & (t < 80)), LOUD, QUIET),
}
STAYING = {"stays at 0.85 of the budget": 0.85, "stays at 1.3": 1.3, "stays at 2.4": 2.4}


def recovery(draws: int) -> list[str]:
    """Return the table of errors by curve and rate, and of what is called recovered."""
    heads = " | ".join(f"{rate}/s" for rate in RATES)
    lines = [f"| p95 of the error, s (mean error; not decided) | {heads} |", "|--|--|--|--|"]
    for family, curves in (("", UNSEEN), ("known: ", TUNED)):
        for name, curve in curves.items():
            truth = truth_s(curve, BUDGET, END_S)
            cells = [_error(_found(curve, rate, draws), truth) for rate in RATES]
            lines.append(f"| {family}{name} | {' | '.join(cells)} |")
    lines.append(_drawn(draws // 2))
    lines += ["", f"| called recovered, % | {heads} |", "|--|--|--|--|"]
    for name, factor in STAYING.items():
        found = [_found(staying(factor * BUDGET), rate, draws) for rate in RATES]
        cells = [share(int(np.isfinite(one).sum()), draws) for one in found]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _drawn(curves: int) -> str:
    """Return the row of curves drawn at random, four runs of each."""
    cells = []
    for rate in RATES:
        errors = []
        for seed in range(curves):
            curve = random_curve(seed)
            errors.append(_found(curve, rate, 4) - truth_s(curve, BUDGET, END_S))
        cells.append(_error(np.concatenate(errors), 0.0))
    return f"| drawn at random, {curves} of them | {' | '.join(cells)} |"


def _found(curve: Curve, rate_rps: float, draws: int) -> Floats:
    runs = recovering(curve, rate_rps, END_S, draws, seed=11)
    found = [recovery_of("x", BUDGET, run, HOLD_S).recovery_s for run in runs]
    return np.array([math.nan if one is None else one for one in found])


def _error(found: Floats, truth: float) -> str:
    known = found[np.isfinite(found)] - truth
    if not len(known):
        return "not decided"
    undecided = 100 * (1 - len(known) / len(found))
    worst = float(np.quantile(np.abs(known), 0.95))
    return f"**{worst:.1f}** ({known.mean():+.1f}; {undecided:.0f} %)"


TAILS = {
    "8/s; 30 s before, 120 s after": (8, 30, 120),
    "33/s; 30 s before, 120 s after": (33, 30, 120),
    "167/s; 60 s before, 240 s after": (167, 60, 240),
}


def tails(draws: int) -> list[str]:
    """Return how often a tail is said to have moved, by how much it did."""
    factors = (1.0, 1.1, 1.2, 1.5, 2.0)
    heads = " | ".join("nothing" if f == 1 else f"+{100 * (f - 1):.0f} %" for f in factors)
    lines = [f"| called degraded, %: p95 / p99 | {heads} |", f"|--|{'--|' * len(factors)}"]
    objective = slo("ttft", "ttft_s <= 10")
    for name, (rate, before_s, after_s) in TAILS.items():
        phases = [
            Phase(name=PhaseName.BASELINE, start_s=0.0, end_s=before_s),
            Phase(name=PhaseName.RECOVERY, start_s=before_s, end_s=before_s + after_s),
        ]
        cells = []
        for factor in factors:
            moved = {0.95: 0, 0.99: 0}
            for seed in range(draws):
                due, took = latencies(rate, before_s, after_s, factor, seed)
                events = {"ttft": Events(due, np.zeros_like(due, dtype=np.bool_), took)}
                for one in find_degraded([objective], events, phases, before_s):
                    moved[one.share] += 1
            cells.append(" / ".join(f"{100 * hits / draws:.1f}" for hits in moved.values()))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


TABLES: dict[str, tuple[Callable[[int], list[str]], int]] = {
    "absolute": (absolute, 4000),
    "recovery": (recovery, 400),
    "tails": (tails, 200),
}
"""By marker: what makes the table, and how many draws it takes in full."""


def write(tables: dict[str, Sequence[str]]) -> None:
    """Put each table between its markers."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in tables.items():
        begin, end = (f"<!-- judge-calibration: {name}{word} -->\n" for word in ("", " ends"))
        before, rest = text.split(begin)
        text = before + begin + "\n" + "\n".join(lines) + "\n\n" + end + rest.split(end)[1]
    PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    """Compute the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=sorted(TABLES), action="append")
    asked = parser.parse_args()
    tables: dict[str, Sequence[str]] = {}
    for name, (table, draws) in TABLES.items():
        if asked.only and name not in asked.only:
            continue
        tables[name] = table(max(20, draws // 20) if asked.quick else draws)
        print("\n".join([f"{name}:", *tables[name]]), flush=True)
    if not asked.quick:
        write(tables)


if __name__ == "__main__":
    main()
