"""Runs a scheduler in virtual time, as fast as the machine can."""

from __future__ import annotations

import math
from collections.abc import Iterable

from inference_platform.engine_sim.scheduler import ContinuousBatching, Request


def run(
    scheduler: ContinuousBatching,
    requests: Iterable[Request],
    *,
    until_s: float = math.inf,
    leaping: bool = True,
) -> int:
    """Feed requests, in order of arrival, and step until all is done; return the number of steps.

    `leaping` does uniform decode steps together; the result is the same to the last bit. Nothing
    is stepped after `until_s`.
    """
    arrivals = iter(requests)
    coming = next(arrivals, None)
    steps = 0
    while True:
        due = scheduler.next_at
        if coming is not None and (due is None or coming.arrived_s <= due):
            scheduler.add(coming)
            coming = next(arrivals, None)
            continue
        if due is None or due > until_s:
            return steps
        if leaping:
            limit = until_s if coming is None else min(coming.arrived_s, until_s)
            leapt = scheduler.leap(limit)
            if leapt:
                steps += leapt
                continue
        scheduler.step(due)
        steps += 1
