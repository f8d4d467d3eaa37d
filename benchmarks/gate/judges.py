"""What others would say of the same trials: thresholds, Mann-Whitney and Kayenta's judge.

Each is asked of one pair of runs, as they are used, and of five pairs pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import stats
from trials import POINTS, REQUESTS, Array

ALPHA = 0.01
"""Of Mann-Whitney's test: the same as the gate's."""
KAYENTA_CONFIDENCE = 0.98
KAYENTA_TOLERANCE = 0.25
"""Both as in NetflixACAJudge of spinnaker/kayenta, with its default effect sizes."""


Judge = Callable[[Array, Array], Array]
"""Requests of baseline and candidate, [gate, trial, ...], to alarms, [gate]."""


def judges_of_latency() -> Mapping[str, Judge]:
    """Return who judges logarithms of latencies, [gate, trial, request], by name."""
    raw = {f"p95 more than {t:.0%} up": _threshold(t) for t in (0.05, 0.10, 0.20)}
    return {**raw, "Mann-Whitney over requests": mann_whitney, "Kayenta": _kayenta_of_latency}


def judges_of_errors() -> Mapping[str, Judge]:
    """Return who judges errors by point, [gate, trial, point], by name."""
    return {
        "error rate more than 0.5 points up": _half_a_point,
        "two proportions over requests": _two_proportions,
        "Kayenta": _kayenta_of_errors,
    }


def mann_whitney(old: Array, new: Array) -> Array:
    """One-sided test over all requests."""
    sides = (side.reshape(len(side), -1) for side in (new, old))
    test = stats.mannwhitneyu(*sides, alternative="greater", axis=-1, method="asymptotic")
    return test.pvalue < ALPHA


def kayenta(old: Array, new: Array) -> Array:
    """Whether a metric with direction "increase" is classified as high; [gate, point] each.

    High: the lower bound of Mann-Whitney's interval of the shift (normal approximation, continuity
    corrected) is above a quarter of the Hodges-Lehmann estimate, and the mean has not sunk.
    """
    count = old.shape[1] * new.shape[1]
    shifts = np.sort((new[:, :, None] - old[:, None, :]).reshape(len(old), count), axis=1)
    deviation = np.sqrt(count * (old.shape[1] + new.shape[1] + 1) / 12)
    z = stats.norm.ppf((1 + KAYENTA_CONFIDENCE) / 2)
    lower = shifts[:, max(0, int(count / 2 - 0.5 - z * deviation))]
    estimate = np.median(shifts, axis=1)
    is_up = new.mean(axis=1) >= old.mean(axis=1)
    return (lower > KAYENTA_TOLERANCE * np.abs(estimate)) & is_up


def _threshold(limit: float) -> Judge:
    def judge(old: Array, new: Array) -> Array:
        at = int(0.95 * REQUESTS)
        old_p95, new_p95 = (np.partition(side, at, axis=-1)[..., at] for side in (old, new))
        return shift_above(old_p95, new_p95, limit)

    return judge


def shift_above(old: Array, new: Array, limit: float) -> Array:
    """Whether logarithms, [gate, trial], are up by more than `limit` (0.05: 5 %) on average."""
    return (new - old).mean(axis=1) > np.log1p(limit)


def _kayenta_of_latency(old: Array, new: Array) -> Array:
    """Ask about the p95 of each ten seconds."""
    size = REQUESTS // POINTS
    points = []
    for side in (old, new):
        parts = np.exp(side[..., : POINTS * size].reshape(len(side), -1, size))
        at = int(0.95 * size)
        points.append(np.partition(parts, at, axis=-1)[..., at])
    return kayenta(*points)


def _kayenta_of_errors(old: Array, new: Array) -> Array:
    return kayenta(old.reshape(len(old), -1), new.reshape(len(new), -1))


def _half_a_point(old: Array, new: Array) -> Array:
    return (new - old).sum(axis=(1, 2)) / (old.shape[1] * REQUESTS) > 0.005


def _two_proportions(old: Array, new: Array) -> Array:
    """One-sided z test, as if requests were independent."""
    events = old.shape[1] * REQUESTS
    bad = [side.sum(axis=(1, 2)) for side in (old, new)]
    pooled = (bad[0] + bad[1]) / (2 * events)
    error = np.sqrt(np.maximum(2 * pooled * (1 - pooled) / events, 1e-12))
    return (bad[1] - bad[0]) / events / error > stats.norm.ppf(1 - ALPHA)
