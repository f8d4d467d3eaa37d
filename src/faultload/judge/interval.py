"""How far a bad ratio can be trusted, when requests a second apart are not independent.

Per-second counts are autocorrelated: the binomial formula understates the error 2 to 4 times
(docs/statistics.md). Hence a Newey-West error over one-second slots, never narrower than Jeffreys'
interval, which alone is honest where bad requests are few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from faultload.judge.rows import Flags, Floats

LAG_S_MAX = 20
"""Newey-West lag; docs/statistics.md compares it with others."""
DEGREES_OF_FREEDOM = 19
"""Of the t that widens the Newey-West error: the 20 runs it was calibrated on."""
SIDE = 0.95
"""Each bound holds with this confidence on its own; both together make a 90 % interval."""
DESIGN_EFFECT = 12.0
"""How many dependent requests are worth one, where no time structure is known: the largest measured
below a million requests a run."""


@dataclass(frozen=True)
class Slots:
    """Events by second; the first slot begins at `start_s`.

    Attributes:
        bad: bad events in each slot.
        events: valid events in each slot.
    """

    start_s: float
    bad: Floats
    events: Floats

    @property
    def ratio(self) -> float:
        """Bad among all; NaN without events."""
        events = self.events.sum()
        return float(self.bad.sum() / events) if events else math.nan

    def since(self, slot: int) -> Slots:
        """Return the slots from one of them on."""
        return Slots(self.start_s + slot, self.bad[slot:], self.events[slot:])


def slot_events(at_s: Floats, bad: Flags, start_s: float, end_s: float) -> Slots:
    """Count events of [start_s, end_s) by second; the last slot may be shorter."""
    count = max(0, math.ceil(round(end_s - start_s, 6)))
    inside = (at_s >= start_s) & (at_s < end_s)
    slot = np.minimum((at_s[inside] - start_s).astype(np.int64), max(count - 1, 0))
    counts = [np.bincount(which, minlength=count) for which in (slot[bad[inside]], slot)]
    return Slots(start_s, counts[0].astype(np.float64), counts[1].astype(np.float64))


def interval(slots: Slots) -> tuple[float, float] | None:
    """Return the 90 % interval of the bad ratio; None without events."""
    events, bad = float(slots.events.sum()), float(slots.bad.sum())
    if events == 0:
        return None
    low, high = jeffreys(bad, events)
    error = newey_west_error(slots)
    if bad and error:
        ratio = bad / events
        freedom = max(2, min(DEGREES_OF_FREEDOM, len(slots.events) - 1))
        spread = math.exp(float(scipy.special.stdtrit(freedom, SIDE)) * error / ratio)
        low, high = min(low, ratio / spread), max(high, min(1.0, ratio * spread))
    return low, high


def newey_west_error(slots: Slots) -> float:
    """Return the standard error of the bad ratio, autocorrelation included (Bartlett weights)."""
    events = slots.events.sum()
    residual = slots.bad - slots.ratio * slots.events
    # A lag near the length of the series would cancel the variance: residuals sum to zero.
    lags = min(LAG_S_MAX, len(residual) // 4)
    variance = float(residual @ residual)
    for lag in range(1, lags + 1):
        weight = 1 - lag / (lags + 1)
        variance += 2 * weight * float(residual[lag:] @ residual[:-lag])
    return math.sqrt(max(variance, 0.0)) / float(events)


def jeffreys(bad: float, events: float, design_effect: float = 1.0) -> tuple[float, float]:
    """Return Jeffreys' 90 % interval of `bad / events`, counts shrunk by a design effect."""
    bad, good = bad / design_effect, (events - bad) / design_effect
    low = float(scipy.special.betaincinv(bad + 0.5, good + 0.5, 1 - SIDE)) if bad else 0.0
    high = float(scipy.special.betaincinv(bad + 0.5, good + 0.5, SIDE)) if good else 1.0
    return low, high
