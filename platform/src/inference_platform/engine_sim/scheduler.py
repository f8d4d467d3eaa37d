"""Continuous batching as vLLM does it, without a clock: the caller says what time it is.

Each step gives every running request one decode token or a chunk of its prefill, in order of
arrival, until the token budget is spent; what is left admits waiting requests, first come first
served. A request that does not fit (batch full, or too few KV blocks) waits, and everybody behind
it waits too.

There is no preemption: a request is admitted only when all the blocks it will ever need can be
promised to it. `kv_usage` counts the blocks that hold computed tokens, not the promised ones, so
it grows as vLLM's does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True, eq=False)
class Request:
    """One sequence: what was asked, and how far it has come.

    Times are the caller's seconds; None means that it has not happened. `emitted_tokens` counts
    output tokens that have come out of a step; `computed_tokens` those whose KV is in the cache.
    """

    request_id: str
    prompt_tokens: int
    output_tokens: int
    arrived_s: float
    computed_tokens: int = 0
    emitted_tokens: int = 0
    held_blocks: int = 0
    scheduled_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    aborted: bool = False

    @property
    def finished(self) -> bool:
        """Whether the last token has come out."""
        return self.emitted_tokens >= self.output_tokens

    def emit(self, now: float) -> float | None:
        """Count one token that came out at `now`; return its inter-token latency, None if first."""
        self.emitted_tokens += 1
        previous, self.last_token_s = self.last_token_s, now
        if previous is None:
            self.first_token_s = now
            return None
        return now - previous


@dataclass(slots=True)
class StepOutput:
    """What came out of a step: each request in `tokens` got exactly one token.

    `latencies_s[i]` is the inter-token latency of `tokens[i]`, None where it is the first token.
    """

    tokens: list[Request] = field(default_factory=list)
    latencies_s: list[float | None] = field(default_factory=list)

    def emit(self, request: Request, now: float) -> None:
        """Record that `request` got its next token at `now`."""
        self.latencies_s.append(request.emit(now))
        self.tokens.append(request)


class Scheduler(Protocol):
    """What the engine drives: call `step` whenever `next_at` comes."""

    @property
    def next_at(self) -> float | None:
        """When to call `step` next; None while there is nothing to do."""

    @property
    def running(self) -> int:
        """Requests in the batch."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""

    @property
    def kv_usage(self) -> float:
        """Share of the KV blocks in use, 0-1."""

    def add(self, request: Request) -> None:
        """Take a request in."""

    def abort(self, request: Request) -> None:
        """Drop a request and free what it holds; harmless when it is already gone."""

    def step(self, now: float) -> StepOutput:
        """Hand out the tokens that are ready at `now` and start the next step."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """How long a step takes, in seconds: base + decoding requests + prompt tokens computed."""

    base_s: float = 0.008
    per_seq_s: float = 0.00022
    per_prefill_token_s: float = 0.00005
    slow_factor: float = 1.0

    def duration_s(self, decodes: int, prefill_tokens: int) -> float:
        """Return the length of a step with this many decoding requests and prompt tokens."""
        busy_s = self.per_seq_s * decodes + self.per_prefill_token_s * prefill_tokens
        return (self.base_s + busy_s) * self.slow_factor


class BlockPool:
    """Counts KV blocks: promised ones decide about admission, held ones are what is in use.

    One block of `num_blocks` is vLLM's null block and never used.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        """Start with every block free."""
        self.capacity = num_blocks - 1
        self.block_size = block_size
        self.promised = 0
        self.held = 0

    def needed(self, tokens: int) -> int:
        """Return how many blocks this many tokens fill."""
        return -(-tokens // self.block_size)

    def lifetime(self, request: Request) -> int:
        """Return the most blocks a request will hold; its last token is never written back."""
        return self.needed(request.prompt_tokens + request.output_tokens - 1)

    def hold(self, request: Request) -> None:
        """Give the request the blocks that its computed tokens fill."""
        more = self.needed(request.computed_tokens) - request.held_blocks
        request.held_blocks += more
        self.held += more

    def release(self, request: Request) -> None:
        """Take back all blocks of an admitted request, held and promised."""
        self.held -= request.held_blocks
        request.held_blocks = 0
        self.promised -= self.lifetime(request)


class ContinuousBatching:
    """The scheduler of one engine.

    Args:
        cost: the latency model; may be replaced between steps.
        pool: the KV blocks.
        max_num_seqs: most requests in the batch.
        max_num_batched_tokens: most tokens computed in one step.
    """

    def __init__(
        self, cost: StepCost, pool: BlockPool, max_num_seqs: int, max_num_batched_tokens: int
    ) -> None:
        """Start idle."""
        self.cost = cost
        self.pool = pool
        self._max_num_seqs = max_num_seqs
        self._budget = max_num_batched_tokens
        self._waiting: deque[Request] = deque()
        self._running: dict[Request, None] = {}
        self._batch: list[Request] = []  # requests that get tokens computed in the step in flight
        self._ends_at: float | None = None

    @property
    def next_at(self) -> float | None:
        """End of the step in flight, else the arrival that ends the idleness."""
        if self._ends_at is None and self._waiting:
            return self._waiting[0].arrived_s
        return self._ends_at

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    @property
    def kv_usage(self) -> float:
        """Share of the KV blocks in use, 0-1."""
        return self.pool.held / self.pool.capacity

    def add(self, request: Request) -> None:
        """Queue a request; ValueError when it could never fit the cache."""
        if self.pool.lifetime(request) > self.pool.capacity:
            raise ValueError(
                f"request {request.request_id} needs {self.pool.lifetime(request)} KV blocks, "
                f"the cache has {self.pool.capacity}"
            )
        self._waiting.append(request)

    def abort(self, request: Request) -> None:
        """Drop a request wherever it is."""
        request.aborted = True
        if request in self._running:
            self._leave(request)
        elif request in self._waiting:
            self._waiting.remove(request)

    def step(self, now: float) -> StepOutput:
        """End the step in flight at `now`, hand out its tokens and start the next one."""
        output = StepOutput()
        for request in self._batch:
            if request.aborted or request.computed_tokens < request.prompt_tokens:
                continue
            output.emit(request, now)
            if request.finished:
                self._leave(request)
        self._start(now)
        return output

    def _start(self, now: float) -> None:
        """Choose the next batch and note when its step ends."""
        self._batch = []
        budget, decodes, prefill_tokens = self._budget, 0, 0
        for request in self._running:
            if budget == 0:
                break
            if request.emitted_tokens:
                count = 1
                decodes += 1
            else:
                count = min(request.prompt_tokens - request.computed_tokens, budget)
                prefill_tokens += count
            budget -= count
            self._compute(request, count)
        while self._waiting and budget and self.running < self._max_num_seqs:
            request = self._waiting[0]
            blocks = self.pool.lifetime(request)
            if request.arrived_s > now or self.pool.promised + blocks > self.pool.capacity:
                break
            self._waiting.popleft()
            self.pool.promised += blocks
            request.scheduled_s = now
            self._running[request] = None
            count = min(request.prompt_tokens, budget)
            prefill_tokens += count
            budget -= count
            self._compute(request, count)
        duration_s = self.cost.duration_s(decodes, prefill_tokens)
        self._ends_at = now + duration_s if self._batch else None

    def _compute(self, request: Request, tokens: int) -> None:
        """Put a request's next tokens into the batch and give it the blocks they need."""
        request.computed_tokens += tokens
        self.pool.hold(request)
        self._batch.append(request)

    def _leave(self, request: Request) -> None:
        """Take a request out of the batch and free its blocks."""
        del self._running[request]
        self.pool.release(request)
