"""The closed loop: how many users there are, and how many questions they may need."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from faultload.spec.scenario import ClosedArrivals

# A stream of a few dozen tokens takes a second or more, so this leaves room. A platform that
# refuses at once is asked faster than this, and then questions come again.
_ANSWER_S_MIN = 0.2
_REQUESTS_MAX = 100_000  # bounds the trace's size; beyond it questions come again


def asking_times(arrivals: ClosedArrivals, duration_s: float) -> npt.NDArray[np.float64]:
    """Return a due time for every question that a run may need: infinity, for nobody knows yet.

    Who asks decides when. The number is bounded: by the users' time together, over the shortest
    time that a question may take.
    """
    edges = [0.0, *accumulate(step.for_s for step in arrivals.steps[:-1]), math.inf]
    user_seconds = sum(
        step.users * max(0.0, min(end, duration_s) - start)
        for step, start, end in zip(arrivals.steps, edges[:-1], edges[1:], strict=True)
    )
    count = math.ceil(user_seconds / (arrivals.think_s + _ANSWER_S_MIN))
    return np.full(min(count, _REQUESTS_MAX), np.inf)


def users_at(arrivals: ClosedArrivals, at_s: float) -> int:
    """Return how many users there are at a moment."""
    for step, end_s in zip(
        arrivals.steps, accumulate(step.for_s for step in arrivals.steps[:-1]), strict=False
    ):
        if at_s < end_s:
            return step.users
    return arrivals.steps[-1].users


def returns_at(arrivals: ClosedArrivals, number: int, at_s: float) -> float:
    """Return when user `number` is next among the users, from `at_s` on; infinity: never."""
    edges = [0.0, *accumulate(step.for_s for step in arrivals.steps[:-1])]
    for edge_s in [at_s, *(edge for edge in edges if edge > at_s)]:
        if number < users_at(arrivals, edge_s):
            return edge_s
    return math.inf
