"""A scheduler whose latencies are known, to test what measures latencies.

Every request's tokens come at arrival + TTFT + i * TPOT, whatever else runs: each time is computed
from the arrival, so errors never add up. KV blocks are not modelled (`kv_usage` is 0) and nothing
ever waits.
"""

from __future__ import annotations

import heapq

from inference_platform.engine_sim.scheduler import Request, StepOutput, Work


class FixedTiming:
    """Known timing behind the scheduler's interface.

    Args:
        ttft_s: from arrival to the first token.
        tpot_s: from each token to the next.
    """

    def __init__(self, ttft_s: float, tpot_s: float) -> None:
        """Start idle."""
        self._ttft_s = ttft_s
        self._tpot_s = tpot_s
        self._order = 0
        self._due: list[tuple[float, int, Request]] = []
        self._running: set[Request] = set()
        self.work = Work()  # no steps, so nothing to count but tokens

    @property
    def next_at(self) -> float | None:
        """When the next token is due."""
        return self._due[0][0] if self._due else None

    @property
    def running(self) -> int:
        """Requests that still have tokens to come."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Nothing ever waits."""
        return 0

    @property
    def kv_usage(self) -> float:
        """KV blocks are not modelled."""
        return 0.0

    def add(self, request: Request) -> None:
        """Schedule the first token."""
        request.scheduled_s = request.arrived_s
        request.computed_tokens = request.prompt_tokens
        self._running.add(request)
        self._schedule(request)

    def abort(self, request: Request) -> None:
        """Forget a request; its entry in the heap is dropped when it comes up."""
        request.aborted = True
        self._running.discard(request)

    def slow_down(self, factor: float) -> None:
        """Refuse: slowed timing would not be known timing."""
        raise ValueError(f"known timing (--sim-fixed-*) cannot be slowed down by {factor:g}")

    def forget(self) -> bool:
        """Return True: there is no cache."""
        return True

    def step(self, now: float) -> StepOutput:
        """Hand out the tokens due by `now`, one a request at most."""
        output = StepOutput()
        ready = []
        while self._due and self._due[0][0] <= now:
            due_s, _, request = heapq.heappop(self._due)
            if not request.aborted:
                ready.append((due_s, request))
        self.work.last_tokens = len(ready)
        self.work.tokens += len(ready)
        for due_s, request in ready:
            output.emit(request, due_s)
            if request.finished:
                self._running.discard(request)
            else:
                self._schedule(request)
        return output

    def _schedule(self, request: Request) -> None:
        """Put the request's next token on the heap."""
        due_s = request.arrived_s + self._ttft_s + request.emitted_tokens * self._tpot_s
        self._order += 1
        heapq.heappush(self._due, (due_s, self._order, request))
