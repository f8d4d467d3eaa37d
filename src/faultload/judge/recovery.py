"""When users felt the fault, when a detector would have said so, and when it was over.

Windows, limits and error bars are those that docs/statistics.md compares with eleven others.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy

from faultload.judge.interval import SIDE, Slots, interval, slot_events
from faultload.judge.model import Recovery
from faultload.judge.rows import Flags
from faultload.judge.slo import Events

HOLD_S = 30
"""The pooled bad ratio over this long must be within the budget."""
WINDOW_S = 5
"""So must the ratio over this long, stretched until it holds enough requests."""
WINDOW_EVENTS = 30
SECOND_FACTOR = 2.0
"""The first good second itself may have this many times the budget, and always one bad request."""
ALARM = 12.0
"""Where the change detector's log-likelihood ratio says that something happened."""
RELAPSE_S = 15
"""Over so long a stretch that is provably over budget is a relapse, however good it was before,"""
BLIP_S = 5
"""even when its worst seconds, so many, are left out. What is gone without them was a blip."""
SURE = 0.5
"""The tail must be under the budget by so many standard errors: what stays just over it may have a
lucky stretch, too."""
REACH_S = 15
"""How far before the first good second the moment of recovery may lie."""


def estimate_recovery(
    name: str, budget: float, events: Events, window: tuple[float, float], end_s: float
) -> Recovery:
    """Estimate impact, detection and recovery of one SLO.

    The first good second, from the first effect on, begins a good short window and a good hold, is
    not itself bad, comes after the last relapse, and is not followed by a tail whose bad ratio is
    provably over budget. While the fault is in force, every hold that begins before its end must be
    good too. It is certain when the tail is clearly within budget. Around it a falling curve is
    fitted, and recovered is where that curve meets the budget.

    Args:
        name: the SLO's.
        budget: share of events that may be bad.
        events: of that SLO, requests found open by the harm moved to it.
        window: first harm and proven end of the fault.
        end_s: until when requests were due.
    """
    slots = slot_events(events.at_s, events.is_bad, window[0], max(window[0], end_s))
    return recovery_of(name, budget, slots, window[1] - window[0])


def recovery_of(name: str, budget: float, slots: Slots, lasted_s: float) -> Recovery:
    """Do the same on slots that begin with the harm.

    Args:
        name: the SLO's.
        budget: share of events that may be bad.
        slots: events by second.
        lasted_s: from first harm to proven end of the fault.
    """
    seconds = len(slots.events)
    error_s = _error_s(slots)
    impact, detect = detect_change(slots, budget)
    if not slots.events.any():
        return Recovery(name, None, None, None, 0.0, error_s)
    if impact is None:
        return Recovery(name, None, None, 0.0, None, error_s)
    fault_end = min(seconds, math.ceil(lasted_s))
    start = _first_good_second(slots, budget, impact, fault_end)
    if start is not None and start + HOLD_S <= seconds and _is_sure(slots.since(start), budget):
        crossed = _crossing(slots, budget, max(impact, start - REACH_S), start)
        return Recovery(name, impact, detect, float(crossed), None, error_s)
    # Good since `start`, but not for long or clearly enough to say so: we looked in vain until it.
    looked = float(seconds if start is None else start)
    return Recovery(name, impact, detect, None, looked, error_s)


def detect_change(slots: Slots, budget: float) -> tuple[int | None, int | None]:
    """Return (impact, alarm) of a CUSUM on bad counts, in seconds after the first slot's start.

    It tells a fifth of the budget from three times the budget. The alarm falls at the end of the
    slot that raised it; the impact is back-dated to where the sum last left zero. Two None: quiet.
    """
    quiet, loud = budget / 5, min(3 * budget, (1 + budget) / 2)
    per_bad, per_good = math.log(loud / quiet), math.log((1 - loud) / (1 - quiet))
    score, since = 0.0, 0
    for second, (bad, count) in enumerate(zip(slots.bad, slots.events, strict=True)):
        score += bad * per_bad + (count - bad) * per_good
        if score <= 0:
            score, since = 0.0, second + 1
        if score >= ALARM:
            return since, second + 1
    return None, None


def _first_good_second(slots: Slots, budget: float, first: int, fault_end: int) -> int | None:
    seconds = len(slots.events)
    bad = np.concatenate([[0.0], np.cumsum(slots.bad)])
    events = np.concatenate([[0.0], np.cumsum(slots.events)])
    at = np.arange(seconds)

    def within(until: npt.NDArray[np.int64]) -> Flags:
        stop = np.minimum(until, seconds)
        count = events[stop] - events[at]
        # No traffic is not good.
        good: Flags = (count > 0) & (bad[stop] - bad[at] <= budget * count + 1e-9)
        return good

    enough = np.searchsorted(events, events[at] + WINDOW_EVENTS)
    short = within(np.clip(enough, at + WINDOW_S, at + HOLD_S))
    hold = within(at + HOLD_S)
    second = slots.bad <= np.maximum(1.0, SECOND_FACTOR * budget * slots.events)
    broken_holds = np.flatnonzero(~hold[:fault_end])
    earliest = max(first, int(broken_holds[-1]) + 1 if len(broken_holds) else 0)
    earliest = max(earliest, _last_relapse(slots, budget) + 1)
    for start in np.flatnonzero(short & hold & second):
        if start >= earliest:
            tail = interval(slots.since(int(start)))
            if tail is not None and tail[0] <= budget:
                return int(start)
    return None


def _last_relapse(slots: Slots, budget: float) -> int:
    """Return the second at which the last stretch that is no blip begins; -1: there is none."""
    if len(slots.events) < RELAPSE_S:
        return -1
    over = np.lib.stride_tricks.sliding_window_view(slots.bad - budget * slots.events, RELAPSE_S)
    kept = np.argsort(over, axis=1, kind="stable")[:, : RELAPSE_S - BLIP_S]
    kept += np.arange(len(kept))[:, np.newaxis]
    bad, events = slots.bad[kept].sum(axis=1), slots.events[kept].sum(axis=1)
    low = scipy.special.betaincinv(bad + 0.5, events - bad + 0.5, 1 - SIDE)
    found = np.flatnonzero((bad > 0) & (low > budget))
    return int(found[-1]) if len(found) else -1


def _is_sure(tail: Slots, budget: float) -> bool:
    bad, events = float(tail.bad.sum()), float(tail.events.sum())
    expected = budget * events
    # Of fewer than five expected bad ones nobody can be surer than that they are no more.
    margin = SURE * math.sqrt(expected * (1 - budget)) if expected >= 5 else 0.0
    return bad <= expected - margin + 1e-9


def _crossing(slots: Slots, budget: float, first: int, start: int) -> int:
    """Return where the best falling fit to the bad ratio first is within budget (pool-adjacent).

    Seconds after `start` take part, as far as the hold reaches: the first good second is early
    where a service recovers slowly.
    """
    blocks: list[tuple[float, float, int]] = []
    stop = start + HOLD_S
    for pair in zip(slots.bad[first:stop], slots.events[first:stop], strict=True):
        bad, events, width = float(pair[0]), float(pair[1]), 1
        while blocks and blocks[-1][0] * events <= bad * blocks[-1][1]:
            last = blocks.pop()
            bad, events, width = bad + last[0], events + last[1], width + last[2]
        blocks.append((bad, events, width))
    at = first
    for bad, events, width in blocks:
        if events and bad <= budget * events + 1e-9:
            return at
        at += width
    return start


def _error_s(slots: Slots) -> float:
    """Return what covered the estimator's error in 95 % of simulated faults, by request rate."""
    seconds = len(slots.events)
    rate = float(slots.events.sum()) / seconds if seconds else 0.0
    if rate >= 33:
        return 6.0
    # Under 6 requests a second the short window is stretched, and the error with it.
    return max(10.0, min(float(HOLD_S), 2 * WINDOW_EVENTS / rate)) if rate else float(HOLD_S)
