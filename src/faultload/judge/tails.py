"""Degraded: the budget held, and the tail moved all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

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
    with its error widened for autocorrelation, is over 5 or 1 % for sure, or may be. Where there
    are too few requests for such a bound nothing is said.
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
        before = _Sample(events[slo.name], baseline.start_s, min(baseline.end_s, harm_s))
        after = _Sample(events[slo.name], harm_s, end_s)
        for share in SHARES:
            was_s, is_s = before.quantile(share), after.quantile(share)
            if was_s is None or is_s is None or is_s < (1 + WORSE_MIN) * was_s:
                continue
            was_s_max, is_s_min = before.at_most(share), after.at_least(share)
            if was_s_max is not None and is_s_min is not None and is_s_min > was_s_max:
                known = is_s if np.isfinite(is_s) else None
                found.append(Degradation(slo.name, share, was_s, was_s_max, known, is_s_min))
    return found


class _Sample:
    """The latencies of one stretch of the run, slowest first."""

    def __init__(self, events: Events, start_s: float, end_s: float) -> None:
        inside = (events.at_s >= start_s) & (events.at_s < end_s)
        at_s, value_s = events.at_s[inside], events.value_s[inside]
        order = np.argsort(-value_s, kind="stable")
        self.slowest_s = value_s[order]
        self.slots = slot_events(at_s, np.zeros_like(at_s, dtype=np.bool_), start_s, end_s)
        second = np.minimum((at_s - start_s).astype(np.int64), max(len(self.slots.events) - 1, 0))
        self.second = second[order]

    def quantile(self, share: float) -> float | None:
        """Return a value that was seen; infinite where too many were not served."""
        if not len(self.slowest_s):
            return None
        return float(np.quantile(self.slowest_s, share, method="inverted_cdf"))

    def at_most(self, share: float) -> float | None:
        """Return the quantile's upper 95 % bound; None: too few requests, or it is infinite."""
        return self._bound(lambda bounds: bounds[1] > 1 - share)

    def at_least(self, share: float) -> float | None:
        """Return the quantile's lower 95 % bound; None: too few requests, or it is infinite."""
        return self._bound(lambda bounds: bounds[0] > 1 - share)

    def _bound(self, is_over: Callable[[tuple[float, float]], bool]) -> float | None:
        """Return the fastest of so many slowest requests that their share has such bounds."""
        low, high = 0, len(self.slowest_s) + 1
        while low < high:
            middle = (low + high) // 2
            count = np.bincount(self.second[:middle], minlength=len(self.slots.events))
            bounds = interval(replace(self.slots, bad=count.astype(np.float64)))
            over = middle > len(self.slowest_s) or (bounds is not None and is_over(bounds))
            low, high = (low, middle) if over else (middle + 1, high)
        if not 0 < low <= len(self.slowest_s):
            return None
        bound = float(self.slowest_s[low - 1])
        return bound if np.isfinite(bound) else None
