"""Continuous batching as vLLM does it, without a clock: the caller says what time it is.

Each step gives every running request one decode token or a chunk of its prefill, in order of
arrival, until the token budget is spent; what is left admits waiting requests, first come first
served. A request that does not fit (batch full, or too few KV blocks) waits, and everybody behind
it waits too.

A running request that needs a block when none is free takes it from the newest one: that one
loses all its blocks, goes back to the front of the queue and computes its tokens again when it is
admitted again (preemption by recompute). Nobody new is admitted in a step that preempts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol

from inference_platform.engine_sim.blocks import BlockPool
from inference_platform.engine_sim.cost import Cost


@dataclass(slots=True, eq=False)
class Request:
    """One sequence: what was asked, and how far it has come.

    Times are the caller's seconds; None means that it has not happened. `emitted_tokens` counts
    output tokens that have come out of a step; `computed_tokens` those whose KV is in the cache;
    `cached_tokens` those of the prompt that were there when it was first admitted. `contents`
    tells what the tokens from one place to another are; None: unlike any other request's.
    """

    request_id: str
    prompt_tokens: int
    output_tokens: int
    arrived_s: float
    contents: Callable[[int, int], Hashable] | None = None
    computed_tokens: int = 0
    emitted_tokens: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    blocks: list[int] = field(default_factory=list)
    block_keys: list[int] = field(default_factory=list)
    full_blocks: int = 0
    scheduled_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    aborted: bool = False

    @property
    def finished(self) -> bool:
        """Whether the last token has come out."""
        return self.emitted_tokens >= self.output_tokens

    @property
    def known_tokens(self) -> int:
        """Tokens of the prompt and of the answer so far."""
        return self.prompt_tokens + self.emitted_tokens

    def tokens_between(self, start: int, end: int) -> Hashable:
        """Return something that is equal for equal tokens."""
        return (self.request_id, start) if self.contents is None else self.contents(start, end)


@dataclass(slots=True)
class StepOutput:
    """What came out of a step: each request in `tokens` got exactly one token.

    `latencies_s[i]` is the inter-token latency of `tokens[i]`, None where it is the first token.
    The other fields are about the step that begins: requests that lost their place, and tokens
    looked up and found in the prefix cache by requests admitted for the first time.
    """

    tokens: list[Request] = field(default_factory=list)
    latencies_s: list[float | None] = field(default_factory=list)
    preempted: int = 0
    cache_queries: int = 0
    cache_hits: int = 0

    def emit(self, request: Request, now: float) -> None:
        """Record that `request` got its next token at `now`."""
        request.emitted_tokens += 1
        previous, request.last_token_s = request.last_token_s, now
        if previous is None:
            request.first_token_s = now
            self.latencies_s.append(None)
        else:
            self.latencies_s.append(now - previous)
        self.tokens.append(request)


@dataclass(slots=True)
class Work:
    """What the steps so far have cost, the one in flight included; `leap` does not count here.

    `busy_s` is their length, `context_tokens` those whose KV was read, `pairs` the computed tokens
    times the tokens each looked back at. `last_tokens` were computed in the latest step alone.
    """

    steps: int = 0
    busy_s: float = 0.0
    tokens: int = 0
    context_tokens: int = 0
    pairs: int = 0
    last_tokens: int = 0

    def totals(self) -> tuple[float, ...]:
        """Return all but `last_tokens`, in order."""
        return (self.steps, self.busy_s, self.tokens, self.context_tokens, self.pairs)


class Scheduler(Protocol):
    """What the engine drives: call `step` whenever `next_at` comes."""

    @property
    def work(self) -> Work:
        """What the steps so far have cost."""

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

    def slow_down(self, factor: float) -> None:
        """Multiply the length of every later step; ValueError where that cannot be."""

    def forget(self) -> bool:
        """Empty the prefix cache; False, and no change, while a request holds blocks."""

    def step(self, now: float) -> StepOutput:
        """Hand out the tokens that are ready at `now` and start the next step."""


@dataclass(slots=True)
class _Budget:
    """What a step may still compute, and what it computes already."""

    tokens: int
    decodes: int = 0
    prefill_tokens: int = 0
    context_tokens: int = 0
    pairs: int = 0


class ContinuousBatching:
    """The scheduler of one engine.

    Args:
        cost: the latency model; may be replaced between steps.
        pool: the KV blocks.
        max_num_seqs: most requests in the batch.
        max_num_batched_tokens: most tokens computed in one step.
    """

    def __init__(
        self, cost: Cost, pool: BlockPool, max_num_seqs: int, max_num_batched_tokens: int
    ) -> None:
        """Start idle."""
        self.cost = cost
        self._slow_factor = 1.0
        self.pool = pool
        self._max_num_seqs = max_num_seqs
        self._max_num_batched_tokens = max_num_batched_tokens
        self._waiting: deque[Request] = deque()
        self._running: dict[Request, None] = {}
        self._batch: list[Request] = []  # requests that get tokens computed in the step in flight
        self._ends_at: float | None = None
        self.work = Work()

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
        """Share of the KV blocks that somebody holds, 0-1; remembered free ones are not in use."""
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

    def slow_down(self, factor: float) -> None:
        """Multiply the length of every later step; 1 is as asked for on the command line."""
        self._slow_factor = factor

    def forget(self) -> bool:
        """Empty the prefix cache, when it is nobody's."""
        return self.pool.forget()

    def step(self, now: float) -> StepOutput:
        """End the step in flight at `now`, hand out its tokens and start the next one."""
        output = StepOutput()
        emit = output.emit
        for request in self._batch:
            known = request.prompt_tokens + request.emitted_tokens
            if request.aborted or request.computed_tokens < known:
                continue
            emit(request, now)
            if request.emitted_tokens >= request.output_tokens:
                self._leave(request)
        self._start(now, output)
        return output

    def leap(self, until: float) -> int:
        """Do steps that end before `until` together, while each only decodes; return how many.

        The same to the last bit as calling `step` as often: it stops before a step that ends a
        request, and where blocks might run out. Only for runs in virtual time: tokens are counted
        on the requests, but no `StepOutput` tells of them.
        """
        batch, ends_at, size = self._batch, self._ends_at, self.pool.block_size
        if ends_at is None or not self._is_uniform():
            return 0
        most = min(r.output_tokens - r.emitted_tokens for r in batch) - 1
        # Which requests fill a block, or begin one, in the steps n with n % size = the key.
        due: dict[int, list[Request]] = {}
        for request in batch:
            for place in {-request.computed_tokens % size, (1 - request.computed_tokens) % size}:
                due.setdefault(place, []).append(request)
        context, steps, last_s = sum(r.computed_tokens for r in batch), 0, ends_at
        while steps < most and ends_at < until:
            touched = due.get((steps + 1) % size, ())
            if self.pool.capacity - self.pool.held < len(touched):
                break
            for request in touched:
                self.pool.extend(request, request.computed_tokens + steps + 1)
            steps, last_s = steps + 1, ends_at
            duration_s = self.cost.duration_s(len(batch), 0, context, context)
            ends_at += duration_s * self._slow_factor
            context += len(batch)
        if steps:
            for request in batch:
                request.emitted_tokens += steps
                request.computed_tokens += steps
                request.last_token_s = last_s
            self._ends_at = ends_at
        return steps

    def _is_uniform(self) -> bool:
        """Whether the step in flight gives every request one more token, and nobody waits."""
        return (
            not self._waiting
            and 0 < len(self._batch) == len(self._running)
            and all(
                r.emitted_tokens and r.computed_tokens == r.known_tokens and not r.aborted
                for r in self._batch
            )
        )

    def _start(self, now: float, output: StepOutput) -> None:
        """Choose the next batch and note when its step ends."""
        self._batch = []
        budget = _Budget(self._max_num_batched_tokens)
        self._continue(budget, output)
        if not output.preempted:
            self._admit(now, budget, output)
        duration_s = self.cost.duration_s(
            budget.decodes, budget.prefill_tokens, budget.context_tokens, budget.pairs
        )
        if not self._batch:
            self._ends_at = None
            return
        duration_s *= self._slow_factor
        self._ends_at = now + duration_s
        work = self.work
        work.steps += 1
        work.busy_s += duration_s
        work.last_tokens = self._max_num_batched_tokens - budget.tokens
        work.tokens += work.last_tokens
        work.context_tokens += budget.context_tokens
        work.pairs += budget.pairs

    def _continue(self, budget: _Budget, output: StepOutput) -> None:
        """Give running requests their next tokens, the oldest first, at the newest one's cost."""
        size, batch, decodes, context = self.pool.block_size, self._batch, 0, 0
        for request in list(self._running):
            if budget.tokens == 0 or (output.preempted and request not in self._running):
                break
            computed = request.computed_tokens
            count = request.prompt_tokens + request.emitted_tokens - computed
            if count == 1 and request.emitted_tokens and computed + 1 < len(request.blocks) * size:
                # Most decode steps: no block begins or fills. Counted together, for speed.
                budget.tokens -= 1
                decodes += 1
                context += computed
                request.computed_tokens = computed + 1
                batch.append(request)
                continue
            count = min(count, budget.tokens)
            if not self._make_room(request, computed + count, output):
                break
            self._compute(request, count, budget)
        budget.decodes += decodes
        budget.context_tokens += context
        budget.pairs += context

    def _make_room(self, request: Request, tokens: int, output: StepOutput) -> bool:
        """Give a running request blocks for so many tokens; False when it lost its own place."""
        while not self.pool.extend(request, tokens):
            loser, _ = self._running.popitem()
            self._preempt(loser)
            output.preempted += 1
            if loser is request:
                return False
        return True

    def _admit(self, now: float, budget: _Budget, output: StepOutput) -> None:
        """Let waiting requests in while they fit."""
        while self._waiting and budget.tokens and self.running < self._max_num_seqs:
            request = self._waiting[0]
            if request.arrived_s > now:
                return
            cached = self.pool.cached_prefix(request)
            hits = len(cached) * self.pool.block_size
            count = min(request.known_tokens - hits, budget.tokens)
            if not self.pool.extend(request, hits + count, cached):
                return
            self._waiting.popleft()
            self._running[request] = None
            request.computed_tokens = hits
            if request.scheduled_s is None:
                request.scheduled_s = now
                request.cached_tokens = hits
                if self.pool.caching:
                    output.cache_queries += request.prompt_tokens
                    output.cache_hits += hits
            self._compute(request, count, budget)

    def _compute(self, request: Request, tokens: int, budget: _Budget) -> None:
        """Put a request's next tokens into the batch."""
        if tokens == 1 and request.emitted_tokens:
            budget.decodes += 1
        else:
            budget.prefill_tokens += tokens
        budget.tokens -= tokens
        budget.context_tokens += request.computed_tokens
        budget.pairs += tokens * (request.computed_tokens + tokens // 2)
        request.computed_tokens += tokens
        self._batch.append(request)

    def _preempt(self, request: Request) -> None:
        """Send a request that is no longer in the batch back to the front of the queue."""
        self.pool.release(request)
        request.computed_tokens = 0
        request.preemptions += 1
        self._waiting.appendleft(request)

    def _leave(self, request: Request) -> None:
        """Take a request out of the batch and free its blocks."""
        del self._running[request]
        self.pool.release(request)
