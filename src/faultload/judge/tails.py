"""Degraded: the budget held, and the tail moved all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from faultload.judge.interval import interval, slot_events
from faultload.judge.shown import Degradation
from faultload.judge.slo import Events
from faultload.record import Phase, PhaseName
from faultload.spec.slo import SLO, RequestsSource

SHARES = (0.95, 0.99)
WORSE_MIN = 0.10
"""A tail that moved by less is what the regression gate tolerates, too."""


def find_degraded(
    slos: Sequence[SLO],
    events: Mapping[str, Events],
    phases: Sequence[Phase],
    harm_s: float | None,
) -> list[Degradation]:
    """Return the latencies whose p95 or p99 is worse since the harm than in the baseline.

    Worse means by `WORSE_MIN` at least, and by more than both are uncertain: the lower 95 % bound
    after is over the upper 95 % bound before. The bounds are where the share of slower requests,
    with its error widened for autocorrelation, meets 5 or 1 %. Where there are too few requests
    for such a bound nothing is said.
    """
    baseline = next((phase for phase in phases if phase.name is PhaseName.BASELINE), None)
    end_s = max((phase.end_s for phase in phases), default=0.0)
    if baseline is None or harm_s is None:
        return []
    found = []
    for slo in slos:
        is_latency = (
            isinstance(slo.source, RequestsSource) and slo.source.spec.condition.kind == "latency"
        )
        if not is_latency or slo.name not in events:
            continue
        before = _Sample.of(events[slo.name], baseline.start_s, min(baseline.end_s, harm_s))
        after = _Sample.of(events[slo.name], harm_s, end_s)
        for share in SHARES:
            was_s, was_s_max = before.quantile(share), before.bound(share, upper=True)
            is_s, is_s_min = after.quantile(share), after.bound(share, upper=False)
            if was_s is None or was_s_max is None or is_s is None or is_s_min is None:
                continue
            if is_s_min > was_s_max and is_s >= (1 + WORSE_MIN) * was_s:
                known = is_s if np.isfinite(is_s) else None
                found.append(Degradation(slo.name, share, was_s, was_s_max, known, is_s_min))
    return found


class _Sample:
    """The latencies of one stretch of the run."""

    def __init__(self, events: Events, start_s: float, end_s: float) -> None:
        inside = (events.at_s >= start_s) & (events.at_s < end_s)
        self.at_s, self.value_s = events.at_s[inside], events.value_s[inside]
        self.span = (start_s, end_s)
        self.sorted = np.sort(self.value_s)

    @classmethod
    def of(cls, events: Events, start_s: float, end_s: float) -> _Sample:
        return cls(events, start_s, end_s)

    def quantile(self, share: float) -> float | None:
        """Return a value that was seen; infinite where too many were not served."""
        if not len(self.sorted):
            return None
        return float(np.quantile(self.sorted, share, method="inverted_cdf"))

    def bound(self, share: float, *, upper: bool) -> float | None:
        """Return a bound of the quantile, a value that was seen; None: not that many requests."""
        finite = self.sorted[np.isfinite(self.sorted)]
        low, high = 0, len(finite)
        while low < high:
            middle = (low + high) // 2
            bounds = interval(slot_events(self.at_s, self.value_s > finite[middle], *self.span))
            under = bounds is not None and (bounds[1] if upper else bounds[0]) <= 1 - share
            low, high = (low, middle) if under else (middle + 1, high)
        # `low` is the first value that so few are provably (or not provably more than) slower than.
        if upper:
            return float(finite[low]) if low < len(finite) else None
        return float(finite[low - 1]) if low else None
