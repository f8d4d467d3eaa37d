"""An SLO held for more than one run: the bad ratio with the spread between runs counted in.

Requests of one run share its weather, so nothing in them says how the next run would differ; only
earlier runs do (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy

from faultload.judge.interval import (
    DEGREES_OF_FREEDOM,
    SIDE,
    Slots,
    jeffreys,
    newey_west_error,
)
from faultload.judge.model import Verdict

HISTORY_MIN = 5
"""Earlier runs below which their spread is a guess; then a run speaks for itself only."""
UNEVEN = 0.5
"""Spread of logarithms beyond which they are too skewed for a t: few bursts make a run's ratio."""
UNEVEN_MIN = 19
"""Of so many runs the smallest ratio lies under all but one in twenty of the next ones."""


@dataclass(frozen=True)
class Spread:
    """How bad ratios of earlier runs differ, on the scale of natural logarithms.

    Attributes:
        sd: standard deviation.
        freedom: its degrees of freedom.
        reach: from the smallest ratio to the mean one; how lucky a run may have been.
    """

    sd: float
    freedom: int
    reach: float

    @classmethod
    def of(cls, history: Sequence[float]) -> Self | None:
        """Return the spread of these logarithms; None: too few to know it.

        A run without a bad request has no finite logarithm and is left out.
        """
        known = np.asarray([value for value in history if math.isfinite(value)], dtype=np.float64)
        if len(known) < HISTORY_MIN:
            return None
        sd = float(known.std(ddof=1))
        if sd > UNEVEN and len(known) < UNEVEN_MIN:
            return None
        reach = math.log(float(np.exp(known).mean())) - float(known.min())
        return cls(sd, min(DEGREES_OF_FREEDOM, len(known) - 1), reach)


def bounds_between(trials: Sequence[Slots], history: Sequence[float]) -> tuple[float, float] | None:
    """Return the 90 % interval of the bad ratio of runs such as these.

    Its width is the larger of the spread between earlier runs and the error within these, divided
    by the root of their number; never narrower than Jeffreys'.

    Args:
        trials: one run, or several of the same kind.
        history: natural logarithms of the bad ratios of earlier, accepted runs.

    Returns:
        None: no events, or too little history.
    """
    spread = Spread.of(history)
    trials = [trial for trial in trials if trial.events.any()]
    if spread is None or not trials:
        return None
    events = sum(float(trial.events.sum()) for trial in trials)
    bad = sum(float(trial.bad.sum()) for trial in trials)
    low, high = jeffreys(bad, events)
    t, root = float(scipy.special.stdtrit(spread.freedom, SIDE)), math.sqrt(len(trials))
    luck = spread.reach / root if spread.sd > UNEVEN else 0.0
    if not bad:
        # Nothing bad was seen: the next run may still be worse by what runs differ.
        return 0.0, min(1.0, high * math.exp(max(t * spread.sd / root, luck)))
    ratio = bad / events
    shares = [float(trial.events.sum()) / events for trial in trials]
    errors = [newey_west_error(one) * share for one, share in zip(trials, shares, strict=True)]
    # `errors` are those of a mean already; the spread between runs is one run's.
    width = t * max(spread.sd / root, math.hypot(*errors) / ratio)
    above = min(1.0, ratio * math.exp(max(width, luck)))
    return min(low, ratio * math.exp(-width)), max(high, above)


def judge_absolute(bounds: tuple[float, float], budget: float) -> Verdict:
    """Hold such an interval against the budget: within it, over it, or across its edge."""
    low, high = bounds
    if low > budget:
        return Verdict.FAIL
    return Verdict.PASS if high <= budget else Verdict.INCONCLUSIVE
