"""The permutation test of a difference of means, stratum by stratum, for all shifts at once.

If the sides differ by `shift` and by nothing else, then any exchange of trials within a stratum was
as likely as what was seen. Each exchange is as extreme as what was seen from one certain shift on:
these shifts, counted, are the p of every hypothesis, and their quantiles are the interval.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import scipy

from faultload.judge.rows import Flags, Floats

EXACT_MAX = 20_000
"""Up to so many arrangements are all looked at; of more, `DRAWS` are drawn."""
DRAWS = 5_000

Strata = Sequence[tuple[Floats, Floats]]
"""Baseline's and candidate's trials, by stratum; neither is empty."""


def level(strata: Collection[Floats]) -> float:
    """Return the mean over strata of their means, so that all weigh alike."""
    # ndarray.mean takes three times as long on few trials, and benchmarks play many gates.
    return sum(float(stratum.sum()) / len(stratum) for stratum in strata) / len(strata)


def difference(strata: Strata) -> float:
    """Return how far the candidate lies above the baseline."""
    return level([new for _, new in strata]) - level([old for old, _ in strata])


def error_factor(strata: Strata) -> float:
    """Return the standard error of `difference`, in standard deviations of one trial."""
    return math.sqrt(sum(1 / len(old) + 1 / len(new) for old, new in strata)) / len(strata)


def arrangement_count(strata: Strata) -> int:
    """Return in how many ways the trials can be exchanged within their strata."""
    return math.prod(math.comb(len(old) + len(new), len(new)) for old, new in strata)


@dataclass(frozen=True)
class ShiftTest:
    """What the arrangements say of each hypothesis "the candidate is worse by `shift`".

    Attributes:
        shifts: for each arrangement but the observed one, the shift from which on it is as extreme.
    """

    shifts: Floats

    @classmethod
    def of(cls, strata: Strata, seed: int) -> ShiftTest:
        """Look at all arrangements, or at those that are drawn with `seed`."""
        weights, observed, gaps = _arrangements(
            tuple((len(old), len(new)) for old, new in strata), seed
        )
        pooled = np.concatenate([side for stratum in strata for side in stratum])
        # Shifts do not depend on the level, but rounding does.
        pooled = pooled - pooled.mean()
        return cls((observed @ pooled - weights @ pooled) / gaps)

    def p_above(self, shift: float) -> float:
        """One-sided p of "worse by no more than `shift`"."""
        return self._share(int((self.shifts <= shift + 1e-12).sum()))

    def p_below(self, shift: float) -> float:
        """One-sided p of "worse by at least `shift`"."""
        return self._share(int((self.shifts >= shift - 1e-12).sum()))

    def bounds(self, side: float) -> tuple[float, float]:
        """Return the shifts that neither test rejects at `side`; infinite: too few arrangements."""
        # The smallest number of arrangements at which the test no longer rejects.
        kept = math.floor(side * (1 + len(self.shifts)) + 1e-9)
        if kept < 1 or kept > len(self.shifts):
            return -math.inf, math.inf
        ordered = np.partition(self.shifts, [kept - 1, -kept])
        return float(ordered[kept - 1]), float(ordered[-kept])

    def _share(self, as_extreme: int) -> float:
        # The observed arrangement is as extreme as itself; among the drawn ones it stands for the
        # chance that it would have been drawn.
        return (1 + as_extreme) / (1 + len(self.shifts))


@lru_cache(maxsize=16)
def _arrangements(sizes: tuple[tuple[int, int], ...], seed: int) -> tuple[Floats, Floats, Floats]:
    """Return what trials weigh in each arrangement and as observed, and how far the two differ."""
    weights = np.concatenate(
        [np.full(old + new, (1 / old + 1 / new) / len(sizes)) for old, new in sizes]
    )
    is_new = np.concatenate([np.arange(old + new) >= old for old, new in sizes])
    observed: Floats = weights * is_new
    weighted = _picks(sizes, seed) * weights
    gaps: Floats = observed.sum() - weighted @ is_new
    others = gaps > 1e-9
    return weighted[others], observed, gaps[others]


def _picks(sizes: tuple[tuple[int, int], ...], seed: int) -> Flags:
    """Return which trials are the candidate's, one row an arrangement."""
    if math.prod(math.comb(old + new, new) for old, new in sizes) <= EXACT_MAX:
        choices = [_choices(old + new, new) for old, new in sizes]
        rows = np.indices([len(c) for c in choices]).reshape(len(choices), -1)
        return np.hstack([c[row] for c, row in zip(choices, rows, strict=True)])
    generator = np.random.default_rng(seed)
    ranks = [generator.random((DRAWS, old + new)).argsort(axis=1) for old, new in sizes]
    return np.hstack([rank < new for rank, (_, new) in zip(ranks, sizes, strict=True)])


def _choices(size: int, chosen: int) -> Flags:
    picks = np.array(list(combinations(range(size), chosen)))
    flags = np.zeros((len(picks), size), dtype=bool)
    np.put_along_axis(flags, picks, values=True, axis=1)
    return flags


@dataclass(frozen=True)
class Noise:
    """How far trials of the same thing differ, on the test's scale.

    Attributes:
        spread: standard deviation of a trial within its stratum.
        freedom: its degrees of freedom; 0: nothing is known.
    """

    spread: float
    freedom: int

    @classmethod
    def between(cls, strata: Strata) -> Noise:
        """Return what is left of the trials without their stratum's level and the difference."""
        worse = difference(strata)
        residuals = [np.concatenate([old, new - worse]) for old, new in strata]
        return cls._pooled(residuals, sum(map(len, residuals)) - len(strata) - 1)

    @classmethod
    def stored(cls, strata: Sequence[Floats]) -> Noise:
        """Return how far trials of one kind lie from their stratum's mean."""
        return cls._pooled(strata, sum(len(stratum) - 1 for stratum in strata))

    @classmethod
    def _pooled(cls, strata: Sequence[Floats], freedom: int) -> Noise:
        squares = sum(float(((stratum - level([stratum])) ** 2).sum()) for stratum in strata)
        return cls(math.sqrt(squares / freedom), freedom) if freedom > 0 else cls(math.nan, 0)

    def p_above(self, errors: float) -> float:
        """One-sided p of a difference of so many standard errors, by Student's t."""
        return float(scipy.special.stdtr(self.freedom, -errors))

    def quantile(self, confidence: float) -> float:
        """Return Student's t."""
        return float(scipy.special.stdtrit(self.freedom, confidence))
