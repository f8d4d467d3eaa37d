"""What the pool of real trials says without any gate: noise, drift, and how far its arms differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from live_pool import ARMS, Kept, Pool
from scipy import stats
from trials import Array

from faultload.judge.trial import Sli
from faultload.run.gate.looks import look_at

RESAMPLES = 400
_MAD = 1.4826
"""A normal distribution's deviation, in medians of the absolute distance from its median."""


def about(pool: Pool) -> dict[str, Any]:
    """Return what was measured where."""
    good = list(pool.good())
    begun = sorted(_unix_s(one) for one in good)
    return {
        "settings": dict(pool.settings),
        "trials": {arm: sum(one.arm == arm for one in good) for arm in ARMS},
        "spoilt": len(pool.trials) - len(good),
        "requests": [min(one.requests for one in good), max(one.requests for one in good)],
        "trial_took_s": round(float(np.median([one.length_s for one in good])), 1),
        "openings": len({one.opening for one in good}),
        "begun": min(one.begun for one in good),
        "session_h": round((begun[-1] - begun[0]) / 3600, 2),
        "commits": sorted({one.commit for one in pool.openings}),
        "machines": [dict(one) for one in _different([one.machine for one in pool.openings])],
        "load_average_max": max(one.load_average for one in pool.openings),
    }


def noise(pool: Pool, sli: Sli, generator: np.random.Generator) -> dict[str, Any]:
    """Return how trials of one arm and trace differ, and how arms do; shares are in points.

    Latencies are on the scale of logarithms, so that 0.05 is 5 %. Intervals are 95 %.
    """
    groups = [
        (_scaled(sli, own), [_unix_s(one) for one in own])
        for arm in ARMS
        for own in pool.by_trace(arm).values()
        if len(own) > 1
    ]
    values = [own for own, _ in groups]
    spreads = np.array(_spreads(values))
    again = np.array([_spreads(_drawn_again(values, generator)) for _ in range(RESAMPLES)])
    # Trials that are drawn twice make a resampled pool quieter: only how far they spread counts.
    low, high = np.maximum(0, spreads + np.quantile(again, [0.025, 0.975], axis=0) - again.mean(0))
    residuals = np.concatenate([own - np.median(own) for own in values])
    begun = np.concatenate([np.array(at) for _, at in groups])
    span_s = float(np.ptp(begun))
    slope, _, *bounds = stats.theilslopes(residuals, begun)
    found = {
        "sli": sli.name,
        "unit": sli.unit.value,
        "tolerated": sli.tolerated,
        "robust": [spreads[0], low[0], high[0]],
        "plain": [spreads[1], low[1], high[1]],
        "drift": [float(one) * span_s for one in (slope, *bounds)],
    }
    rounded = {
        key: [round(float(one), 5) for one in value] if isinstance(value, list) else value
        for key, value in found.items()
    }
    return rounded | {arm: _whole(pool, sli, arm) for arm in ARMS[1:]}


def _spreads(groups: Sequence[Array]) -> tuple[float, float]:
    """Return robust and plain deviation of a trial within its group, small groups put right."""
    freedom = sum(len(own) - 1 for own in groups)
    count = sum(map(len, groups))
    off = np.concatenate([np.abs(own - np.median(own)) for own in groups])
    squares = sum(float(((own - own.mean()) ** 2).sum()) for own in groups)
    return _MAD * float(np.median(off)) * np.sqrt(count / freedom), np.sqrt(squares / freedom)


def _drawn_again(groups: Sequence[Array], generator: np.random.Generator) -> list[Array]:
    return [own[generator.integers(len(own), size=len(own))] for own in groups]


def _whole(pool: Pool, sli: Sli, arm: str) -> dict[str, Any]:
    """Return what one look at all trials of two arms says."""
    sides = [
        {trace: [one.numbers[sli.name] for one in own] for trace, own in pool.by_trace(x).items()}
        for x in ("a", arm)
    ]
    fewest = min(one.requests for one in pool.good())
    result = look_at(sli, *sides, stage=1, stages=1, requests=fewest, history=None)
    return {
        "verdict": result.verdict.value,
        "effect": None if result.effect is None else round(result.effect, 5),
        "interval": None if result.interval is None else [round(x, 5) for x in result.interval],
    }


def _scaled(sli: Sli, trials: Sequence[Kept]) -> Array:
    numbers = np.array([sli.worse_is_larger(one.numbers[sli.name]) for one in trials])
    return numbers if sli.is_share else np.log(numbers)


def _unix_s(kept: Kept) -> float:
    return datetime.fromisoformat(kept.begun).timestamp()


def _different(many: Sequence[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
    for at, one in enumerate(many):
        if one not in many[:at]:
            yield one
