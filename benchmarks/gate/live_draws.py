"""Gates drawn from a pool of real trials, and how far what they say can be trusted.

A gate takes, of each arm and under each trace, as many trials as `faultload gate` would run, none
of them twice, and looks at them stage by stage as it does. Intervals are those of a cluster
bootstrap: trials are drawn from the pool with replacement within arm and trace, gates from these.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from judges import mann_whitney, shift_above
from live_noise import about, noise
from live_pool import ARMS, CASES, WHOLE, Kept, Pool, sha256
from trials import Array

from faultload.judge import GateResult, Verdict, worst
from faultload.judge.trial import TPOT, TTFT, Sli
from faultload.record.gate import TrialEntry
from faultload.run.gate.deciding import Stage, Trial, decide, look_back
from faultload.run.gate.looks import look_at

Side = Mapping[str, Sequence[Kept]]
"""An arm's good trials, by trace."""
Rates = dict[tuple[str, ...], dict[str, float]]
"""Case and what is judged → what came of it, as shares of gates or means."""

RAW = 0.05
"""The threshold that the gate is compared with: five per cent worse."""
_GATES_RESAMPLED = 100
"""Drawn from each resampled pool."""


@dataclass(frozen=True)
class Draw:
    """How gates are drawn.

    Attributes:
        rounds: by mode, how often each side plays each trace in each stage.
        slis: what is compared.
        gates: how many of each case.
    """

    rounds: Mapping[str, tuple[int, ...]]
    slis: Sequence[Sli]
    gates: int


def drawn(  # noqa: PLR0913  # what is drawn, and how much of it
    path: Path,
    rounds: Mapping[str, tuple[int, ...]],
    slis: Sequence[Sli],
    *,
    gates: int,
    resamples: int,
    seed: int,
    jobs: int | None = None,
) -> dict[str, Any] | str:
    """Draw gates of every case and mode; return what is published, or why the pool is too small.

    Args:
        path: of the pool.
        rounds: by mode, how often each side plays each trace in each stage.
        slis: what is compared, as far as the pool has it.
        gates: how many of each case and mode.
        resamples: how many pools are drawn for the intervals.
        seed: of all of it.
        jobs: processes; None: as many as there are CPUs.
    """
    pool = Pool.read(path)
    if problem := too_small(pool, rounds):
        return f"{path}: {problem}"
    held = [sli for sli in slis if all(sli.name in one.numbers for one in pool.good())]
    found = rates(pool, Draw(rounds, held, gates), np.random.default_rng([seed, 0]))
    fewer = Draw(rounds, held, min(gates, _GATES_RESAMPLED))
    again = list(_resampled(partial(_one_resampled, path, fewer, seed), resamples, jobs))
    return {
        "seed": seed,
        "pool_sha256": sha256(path),
        "gates": gates,
        "resamples": resamples,
        "gates_resampled": fewer.gates,
        "pool": about(pool),
        "modes": {mode: list(own) for mode, own in rounds.items()},
        "confirms": {mode: can_confirm(pool, own) for mode, own in rounds.items()},
        "noise": [noise(pool, sli, np.random.default_rng([seed, 0])) for sli in held],
        "rows": [
            {"of": list(key), "found": _with_intervals(own, [one[key] for one in again])}
            for key, own in found.items()
        ],
    }


def too_small(pool: Pool, rounds: Mapping[str, tuple[int, ...]]) -> str:
    """Return why no gate can be drawn from a pool; "": it can."""
    needed = max(map(sum, rounds.values()))
    traces = sorted({one.trace for one in pool.trials})
    for arm in ARMS:
        own = pool.by_trace(arm)
        for trace in traces or ["any trace"]:
            if (count := len(own.get(trace, ()))) < needed:
                return (
                    f"too small: expected {needed} good trials or more of {arm!r} under {trace},"
                    f" found {count}; measure more"
                )
    return ""


def can_confirm(pool: Pool, rounds: Sequence[int]) -> bool:
    """Return whether a repetition can be drawn of which no trial was in the first round."""
    fewest = min(len(own) for arm in ARMS for own in pool.by_trace(arm).values())
    return fewest >= 2 * sum(rounds)


def rates(pool: Pool, draw: Draw, generator: np.random.Generator) -> Rates:
    """Draw gates from a pool, and return what they say by case, mode and SLI."""
    found: Rates = {}
    sides = {arm: pool.by_trace(arm) for arm in ARMS}
    fewest = min(draw.rounds, key=lambda mode: sum(draw.rounds[mode]))
    for case, arm in CASES.items():
        for mode, rounds in draw.rounds.items():
            confirms = can_confirm(pool, rounds)
            said: dict[str, list[dict[str, float]]] = {}
            pairs = []
            for _ in range(draw.gates):
                old, new = _two_sides(sides, arm, generator)
                for name, one in play(old, new, rounds, draw.slis, confirms=confirms).items():
                    said.setdefault(name, []).append(one)
                pairs.append((_first(old, sum(rounds)), _first(new, sum(rounds))))
            for name, own in said.items():
                found[case, mode, name] = _means(own)
            if mode == fewest:
                said_by = _others(pairs)
                found |= {(case, mode, name): {"fail": rate} for name, rate in said_by.items()}
    return found


def play(
    old: Side, new: Side, rounds: Sequence[int], slis: Sequence[Sli], *, confirms: bool
) -> dict[str, dict[str, float]]:
    """Play one gate on the first trials of each trace; its repetition has those that follow.

    Returns:
        By SLI, as if it alone were compared, and of the gate as a whole: 1 or 0 for each verdict,
        for a failure that is confirmed too, and the trials that were run.
    """
    first, second = (_Round(old, new, rounds, turn) for turn in (0, 1))
    found = {}
    for name, compared in {**{sli.name: [sli] for sli in slis}, WHOLE: list(slis)}.items():
        seen = first.look_back(compared)
        decisions = decide(first.trials, compared, seen, None, confirm=False)
        verdict = worst(one.verdict for one in decisions)
        stage = max(one.stage for one in decisions)
        own = {each.value: float(verdict is each) for each in Verdict}
        own["trials"] = float(2 * len(old) * sum(rounds[:stage]))
        if name != WHOLE and (effect := decisions[0].result.effect_detectable) is not None:
            own["detectable"] = effect
        if confirms:
            own["confirmed"] = 0.0
            if failed := [sli for sli in compared if sli.name in seen.of(Verdict.FAIL)]:
                again = decide(first.trials, compared, seen, second.look_back(failed), confirm=True)
                own["confirmed"] = float(worst(d.verdict for d in again) is Verdict.FAIL)
        found[name] = own
    return found


class _Round:
    """One round of a gate; what was looked at once is not looked at again."""

    def __init__(self, old: Side, new: Side, rounds: Sequence[int], turn: int) -> None:
        self._stages = len(rounds)
        self._known: dict[tuple[str, int], GateResult] = {}
        start = turn * sum(rounds)
        self.trials = [
            Trial(_entry(side, trace, stage), own[at].measured)
            for side, trials in (("baseline", old), ("candidate", new))
            for trace, own in trials.items()
            for at, stage in enumerate(_stages_of(rounds), start)
            if at < len(own)
        ]

    def look_back(self, slis: Sequence[Sli]) -> Stage:
        return look_back(
            self.trials, slis, self._look, upto=self._stages, stages=self._stages, history={}
        )

    def _look(self, sli: Sli, *sides: Any, stage: int, **rest: Any) -> GateResult:
        if (sli.name, stage) not in self._known:
            self._known[sli.name, stage] = look_at(sli, *sides, stage=stage, **rest)
        return self._known[sli.name, stage]


def _stages_of(rounds: Sequence[int]) -> Iterator[int]:
    for stage, count in enumerate(rounds, start=1):
        yield from [stage] * count


@cache
def _entry(side: Any, trace: str, stage: int) -> TrialEntry:
    return TrialEntry(
        name="", round=1, stage=stage, side=side, trace=trace, attempt=1,
        start_s=0.0, length_s=0.0, problems=[],
    )  # fmt: skip


def _two_sides(
    sides: Mapping[str, Side], arm: str, generator: np.random.Generator
) -> tuple[Side, Side]:
    """Return the trials of one case in random order; see `CASES`."""
    if arm:
        return _shuffled(sides["a"], generator), _shuffled(sides[arm], generator)
    both = {trace: [*own, *sides["a again"][trace]] for trace, own in sides["a"].items()}
    mixed = _shuffled(both, generator)
    halves = [{trace: own[start::2] for trace, own in mixed.items()} for start in (0, 1)]
    return halves[0], halves[1]


def _shuffled(side: Side, generator: np.random.Generator) -> dict[str, list[Kept]]:
    return {
        trace: [own[int(at)] for at in generator.permutation(len(own))]
        for trace, own in side.items()
    }


def _first(side: Side, count: int) -> list[Kept]:
    return [one for own in side.values() for one in own[:count]]


def _means(said: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return shares and means over gates; of detectable effects, of those that know one."""
    sums, counts = Counter[str](), Counter[str]()
    for one in said:
        sums.update(one)
        counts.update(one.keys())
    return {key: total / counts[key] for key, total in sums.items()}


def _others(pairs: Sequence[tuple[list[Kept], list[Kept]]]) -> dict[str, float]:
    """Return what others would say of the same trials, all of them pooled: share of alarms."""
    found = {}
    for sli, kept in ((TTFT, "ttft_ms"), (TPOT, "tpot_ms")):
        old, new = (
            np.log([[one.numbers[sli.name] for one in pair[side]] for pair in pairs])
            for side in (0, 1)
        )
        found[f"{sli.name} more than {RAW:.0%} up"] = float(shift_above(old, new, RAW).mean())
        alarms = [mann_whitney(*(_requests(side, kept) for side in pair))[0] for pair in pairs]
        found[f"Mann-Whitney over requests' {sli.name.split()[-1]}"] = float(np.mean(alarms))
    return found


def _requests(trials: Sequence[Kept], kept: str) -> Array:
    """Return about the requests of trials, [1, request]: each quantile stands for its share."""
    sketches = [(getattr(one, kept), one.requests) for one in trials]
    found = [np.repeat(own, max(1, round(n / len(own)))) for own, n in sketches if own]
    return np.concatenate(found)[None]


def _resampled(one: Callable[[int], Rates], resamples: int, jobs: int | None) -> Iterator[Rates]:
    """Yield the rates of as many resampled pools."""
    with contextlib.ExitStack() as owned:
        each = map
        if jobs != 1:
            each = owned.enter_context(ProcessPoolExecutor(jobs or os.cpu_count())).map
        for count, found in enumerate(each(one, range(1, resamples + 1)), start=1):
            if count % 10 == 0:
                print(f"{count} of {resamples} resampled pools", file=sys.stderr, flush=True)
            yield found


def _one_resampled(path: Path, draw: Draw, seed: int, number: int) -> Rates:
    generator = np.random.default_rng([seed, number])
    return rates(resample(Pool.read(path), generator), draw, generator)


def resample(pool: Pool, generator: np.random.Generator) -> Pool:
    """Return a pool of as many trials of each arm and trace, drawn with replacement."""
    trials = [
        own[int(at)]
        for arm in ARMS
        for own in pool.by_trace(arm).values()
        for at in generator.integers(len(own), size=len(own))
    ]
    return Pool(pool.settings, pool.openings, trials)


def _with_intervals(
    own: Mapping[str, float], again: Sequence[Mapping[str, float]]
) -> dict[str, list[float]]:
    """Return each number, and between which 95 % of those of the resampled pools lie."""
    found = {}
    for key, value in own.items():
        others = [one[key] for one in again if key in one]
        bounds = np.quantile(others, [0.025, 0.975]) if others else (value, value)
        found[key] = [round(float(one), 5) for one in (value, *bounds)]
    return found
