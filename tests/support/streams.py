"""Streams of requests whose truth is known: bursts, runs that differ, and ways to recover."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload.judge.interval import Slots

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Weather:
    """How requests go bad in runs of one kind.

    Attributes:
        rate: requests a second, Poisson.
        length_s: of a run.
        stormy: share of the seconds that lie in bursts.
        burst_s: mean length of a burst.
        contrast: how many times likelier a request is to go bad within a burst.
        spread: standard deviation of the logarithm of the whole run's level.
    """

    rate: float
    length_s: int
    stormy: float = 0.05
    burst_s: float = 3.0
    contrast: float = 6.0
    spread: float = 0.05

    def runs(self, share: float, count: int, seed: int) -> list[Slots]:
        """Draw runs whose long-run mean share of bad requests is `share`."""
        generator = np.random.default_rng(seed)
        leave = 1 / self.burst_s
        enter = leave * self.stormy / (1 - self.stormy)
        dice = generator.random((count, self.length_s))
        burst = np.empty((count, self.length_s), dtype=np.bool_)
        burst[:, 0] = dice[:, 0] < self.stormy
        for second in range(1, self.length_s):
            was = burst[:, second - 1]
            burst[:, second] = np.where(was, dice[:, second] >= leave, dice[:, second] < enter)
        level = np.exp(generator.normal(-(self.spread**2) / 2, self.spread, (count, 1)))
        quiet = share / (1 + self.stormy * (self.contrast - 1))
        chance = np.minimum(1.0, level * quiet * np.where(burst, self.contrast, 1.0))
        events = generator.poisson(self.rate, chance.shape)
        bad = generator.binomial(events, chance)
        return [
            Slots(0.0, one.astype(np.float64), all_.astype(np.float64))
            for one, all_ in zip(bad, events, strict=True)
        ]


def log_ratios(runs: list[Slots]) -> list[float]:
    """Return the logarithm of each run's bad ratio, as a store of accepted runs would hold it."""
    ratios = (run.ratio for run in runs)
    return [math.log(ratio) if ratio > 0 else -math.inf for ratio in ratios]


Curve = Callable[[Floats], Floats]
"""The chance that a request due at some second after the harm goes bad."""
LOUD, QUIET, HOLD_S = 0.6, 0.01, 20.0


def _falling(shape: Curve) -> Curve:
    """Return a curve that is loud while the fault is held, then follows a shape from 1 to 0."""
    return lambda t: np.where(
        t < HOLD_S, LOUD, QUIET + (LOUD - QUIET) * np.clip(shape(t - HOLD_S), 0.0, 1.0)
    )


def logistic(middle_s: float, width_s: float) -> Curve:
    """Slow at first, then fast, then slow: replicas that come back one after the other."""
    return _falling(lambda t: 1 / (1 + np.exp((t - middle_s) / width_s)))


def two_drains(first_s: float, second_s: float) -> Curve:
    """Two queues drain, one after the other, each at its own rate."""
    return _falling(
        lambda t: np.where(t < first_s, 1 - 0.7 * t / first_s, 0.3 * (1 - (t - first_s) / second_s))
    )


def sawtooth(teeth: int, tooth_s: float) -> Curve:
    """Each retry brings some back and loses a part of them again."""
    return _falling(
        lambda t: np.where(
            t < teeth * tooth_s, (1 - t / (teeth * tooth_s)) * (1 - (t % tooth_s) / tooth_s), 0.0
        )
    )


def storm(calm_s: float, storm_s: float) -> Curve:
    """Good at once, then the retries of all who waited come together."""
    return _falling(
        lambda t: np.where((t >= calm_s) & (t < calm_s + storm_s), 0.7, np.where(t < 2, 0.5, 0.0))
    )


def second_dip(good_s: float, bad_s: float) -> Curve:
    """Good for longer than anybody waits, then bad again for a while."""
    return _falling(lambda t: np.where((t >= good_s) & (t < good_s + bad_s), 1.0, 0.0))


def staying(share: float) -> Curve:
    """Loud, then for ever at some share of bad requests."""
    return lambda t: np.where(t < HOLD_S, LOUD, share)


UNSEEN: dict[str, Curve] = {
    "logistic, 12 s": logistic(12, 2),
    "logistic, slow": logistic(20, 4),
    "two drains": two_drains(10, 20),
    "sawtooth": sawtooth(4, 6),
    "retry storm after 8 s": storm(8, 12),
    "retry storm after 20 s": storm(20, 10),
    "second dip after 25 s": second_dip(25, 8),
    "second dip after 45 s": second_dip(45, 25),
}
"""Ways to recover, none of which the estimator was tuned on."""


def truth_s(curve: Curve, budget: float, end_s: float) -> float:
    """Return from when on a curve stays within the budget."""
    t = np.arange(0.0, end_s, 0.01)
    over = np.flatnonzero(curve(t) > budget)
    return float(t[over[-1]]) + 0.01 if len(over) else 0.0


def recovering(curve: Curve, rate: float, end_s: float, count: int, seed: int) -> list[Slots]:
    """Draw runs of requests that go bad as a curve says, from the harm on."""
    generator = np.random.default_rng(seed)
    # A tenth of a second is short against every curve; requests are counted by the second.
    t = np.arange(0.05, end_s, 0.1)
    events = generator.poisson(rate / 10, (count, len(t)))
    bad = generator.binomial(events, curve(t))
    by_second = [x.reshape(count, -1, 10).sum(axis=2).astype(np.float64) for x in (bad, events)]
    return [Slots(0.0, one, all_) for one, all_ in zip(*by_second, strict=True)]


def latencies(
    rate: float, before_s: float, after_s: float, factor: float, seed: int
) -> tuple[Floats, Floats]:
    """Draw when requests were due and how long each took; from `before_s` on, `factor` as long.

    The logarithms are normal with a spread of 0.5, around a speed that drifts by 5 % in 20 s.
    """
    generator = np.random.default_rng(seed)
    end_s = before_s + after_s
    due = np.sort(generator.uniform(0, end_s, generator.poisson(rate * end_s)))
    speed = np.zeros(int(end_s) + 1)
    keep = np.exp(-1 / 20)
    shocks = generator.normal(0, 0.05 * np.sqrt(1 - keep**2), len(speed))
    speed[0] = generator.normal(0, 0.05)
    for second in range(1, len(speed)):
        speed[second] = keep * speed[second - 1] + shocks[second]
    took = 0.1 * np.exp(generator.normal(0, 0.5, len(due)) + speed[due.astype(np.int64)])
    return due, np.where(due >= before_s, factor * took, took)


def random_curve(seed: int) -> Curve:
    """Draw a way to recover: a fall in pieces of any length and, now and then, a dip after it."""
    draw = np.random.default_rng(seed)
    loud = draw.uniform(0.2, 1.0)
    knots_s = HOLD_S + np.cumsum(draw.uniform(0.5, 14.0, 3))
    shares = loud * np.sort(draw.uniform(0.0, 1.0, 2))[::-1]
    at_s = np.array([0.0, HOLD_S, *knots_s])
    heights = np.array([loud, loud, *shares, QUIET])
    dips = bool(draw.random() < 0.4)
    dip_s = knots_s[-1] + draw.uniform(3.0, 60.0)
    long_s, depth = draw.uniform(8.0, 25.0), draw.uniform(0.3, 1.0)
    return lambda t: np.where(
        dips & (t >= dip_s) & (t < dip_s + long_s), depth, np.interp(t, at_s, heights)
    )
