"""The API server's side of the engine: streams by request, and what the core has for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from inference_platform.engine_sim.core import IDLE, Begun, Ended, Link, Order, Report
from inference_platform.engine_sim.metrics import EngineMetrics
from inference_platform.engine_sim.tokens import Answer

LOST = "the engine core's process ended"


class Times(NamedTuple):
    """How an answer went; None for what has not happened yet."""

    arrived_s: float
    scheduled_s: float | None
    first_token_s: float | None
    last_token_s: float | None
    tokens: int
    cached_tokens: int


class Stream:
    """One answer on its way out: `ready` of its tokens may be shown.

    `number` is what the core knows it by, `choice` its place among what was asked for. `begun` and
    `ended` are None until its first and its last token came.
    """

    __slots__ = (
        "answer",
        "arrived_s",
        "asked",
        "begun",
        "choice",
        "ended",
        "max_tokens",
        "number",
        "prompt_tokens",
        "ready",
    )

    def __init__(self, asked: Asked, order: Order, answer: Answer, max_tokens: int) -> None:
        """Start with nothing to show."""
        self.asked = asked
        self.number = order.number
        self.choice = len(asked.streams)
        self.prompt_tokens = len(order.prompt)
        self.arrived_s = order.arrived_s
        self.answer = answer
        self.max_tokens = max_tokens
        self.ready = 0
        self.begun: Begun | None = None
        self.ended: Ended | None = None

    @property
    def times(self) -> Times:
        """How it went so far."""
        begun, ended = self.begun, self.ended
        last_s = None if ended is None else ended.last_token_s
        if begun is None:
            return Times(self.arrived_s, None, None, last_s, self.ready, 0)
        first = (begun.scheduled_s, begun.first_token_s)
        return Times(self.arrived_s, *first, last_s, self.ready, begun.cached_tokens)


class Asked:
    """What one HTTP request asked for: one stream for each of its answers, and who waits for them.

    `closed` means that no more will come, because the request was aborted or, when `failed`, the
    engine died. `n` is the number of answers to each prompt. `sink`, while somebody waits, may
    take what is new in their place: False when it cannot, and then they go on.
    """

    __slots__ = ("_waiter", "closed", "failed", "n", "sink", "streams")

    def __init__(self, n: int = 1) -> None:
        """Start without streams."""
        self.n = n
        self.streams: list[Stream] = []
        self.closed = False
        self.failed = False
        self.sink: Callable[[], bool] | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all answers together."""
        return sum(stream.answer.used_tokens for stream in self.streams)

    def is_over(self, shown: Sequence[int]) -> bool:
        """Whether so many tokens of each stream are all there will be."""
        if len(shown) == 1:  # the usual case, asked for every token
            return shown[0] >= self.streams[0].answer.tokens
        return all(n >= s.answer.tokens for n, s in zip(shown, self.streams, strict=True))

    async def news(self, shown: Sequence[int]) -> bool:
        """Wait until a stream has more than was shown; False when none will ever have."""
        if len(shown) == 1:  # the usual case, asked for every token
            stream = self.streams[0]
            while stream.ready <= shown[0]:  # which a sink counts up
                if self.closed:
                    return False
                await self._wait()
            return True
        while all(s.ready <= n for s, n in zip(self.streams, shown, strict=True)):
            if self.closed:
                return False
            await self._wait()
        return True

    def _wait(self) -> asyncio.Future[None]:
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        return waiter

    def siblings(self, stream: Stream) -> list[Stream]:
        """Return the streams that answer the same prompt."""
        first = stream.choice // self.n * self.n
        return self.streams[first : first + self.n]

    def wake(self) -> None:
        """Let the sink take what is new, or else the reader look again."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return  # nobody waits
        if self.sink is None or self.closed or not self.sink():
            waiter.set_result(None)


class Engine:
    """Requests of this server in the hands of one core, wherever that runs.

    The core may be hung, asleep or stopped: then nothing comes, `/metrics` stands still, and what
    is sent waits. And it can die, which ends every stream; `on_death` is called then.

    Args:
        link: the way to the core.
        metrics: what `/metrics` shows; updated as reports come in.
        can_slow: whether steps may be slowed down: not where timing is to be known.
    """

    def __init__(self, link: Link, metrics: EngineMetrics, *, can_slow: bool = True) -> None:
        """Start idle."""
        self._link = link
        self._metrics = metrics
        self._can_slow = can_slow
        self._streams: dict[int, Stream] = {}
        self._next = 0
        self._hung_until_s = 0.0
        self._stopped = False
        self._leaving: list[tuple[int, asyncio.Event]] = []  # set when all so far have ended
        self.stats = IDLE
        self.dead = False
        self.asleep = False
        self.paused = False
        self.slow_factor = 1.0
        self.on_death: Callable[[str], None] = lambda _: None
        self._on_idle: Callable[[], None] | None = None
        metrics.watch(self)
        link.connect(self._receive, self._lose)

    @property
    def core_pid(self) -> int:
        """The core's process; this one when it has none of its own."""
        return self._link.pid

    @property
    def unfinished(self) -> int:
        """Requests running and waiting."""
        return len(self._streams)

    @property
    def load(self) -> tuple[int, float]:
        """Requests that wait, and the share of the KV blocks in use."""
        return self.stats.waiting, self.stats.kv_usage

    @property
    def state(self) -> str:
        """Return serving, hung or dead. That its process was stopped nobody told us."""
        if self.dead:
            return "dead"
        return "serving" if time.monotonic() >= self._hung_until_s else "hung"

    @property
    def prefill_backlog(self) -> int:
        """Prompt tokens of the requests that wait for their first token."""
        return sum(s.prompt_tokens for s in self._streams.values() if not s.ready)

    def submit(self, asked: Asked, prompt: Sequence[str], answer: Answer, max_tokens: int) -> None:
        """Take in one answer that was asked for."""
        self._next += 1
        order = Order(self._next, list(prompt), answer.tag, answer.tokens, time.monotonic())
        stream = Stream(asked, order, answer, max_tokens)
        self._streams[order.number] = stream
        asked.streams.append(stream)
        self._link.send(("add", *order))

    def abort(self, asked: Asked) -> None:
        """Free a request whose reader has gone; metrics never hear of it.

        Harmless after the request's end.
        """
        for stream in asked.streams:
            if self._streams.pop(stream.number, None) is not None:
                self._link.send(("abort", stream.number))
        asked.closed = True
        asked.wake()
        self._tell_if_idle()

    async def abort_all(self) -> None:
        """End every answer with the token of the step in flight; wait until that has come.

        As in vLLM its chunk has the finish reason "abort"; who gets no token gets an empty one.
        """
        if self._streams:
            gone = asyncio.Event()
            self._leaving.append((self._next, gone))
            self._link.send(("abort_all", self._next))
            await gone.wait()

    def die(self, reason: str) -> None:
        """Let the core fail; it is dead when its report has come."""
        if not self.dead:
            self._link.send(("die", reason))

    def hang(self, seconds: float) -> None:
        """Stand still for so long from now; 0 goes on at once. ValueError when it is dead."""
        if self.dead:
            raise ValueError("the engine is dead: it cannot hang")
        self._hung_until_s = time.monotonic() + seconds
        self._link.send(("hang", self._hung_until_s))

    def sleep(self, level: int) -> None:
        """Stand still until `wake_up`; requests are taken in and wait."""
        self.asleep = True
        self._link.send(("sleep",))
        self._metrics.show_sleep(level)

    def wake_up(self) -> None:
        """End the sleep."""
        self.asleep = False
        self._link.send(("wake_up",))
        self._metrics.show_sleep(0)

    def reset_prefix_cache(self) -> bool:
        """Forget what is cached; False, and no change, while a request holds blocks."""
        if self.stats.kv_usage:
            return False
        self._link.send(("forget",))
        return True

    def slow_down(self, factor: float) -> None:
        """Make every later step so many times as long; ValueError with known timing."""
        if not self._can_slow:
            raise ValueError(f"known timing (--sim-fixed-*) cannot be slowed down by {factor:g}")
        self._link.send(("slow_down", factor))
        self.slow_factor = factor

    def leave_room(self, tokens: float, reason: str) -> None:
        """Let the core die, for that reason, of a step that computes more than so many tokens."""
        self._link.send(("leave_room", tokens, reason))

    def drain(self, on_idle: Callable[[], None]) -> None:
        """Call `on_idle` as soon as no request is left; the core may end then."""
        self._on_idle = on_idle
        self._link.drain()
        self._tell_if_idle()

    def stop(self) -> None:
        """End the core: no token comes out any more, and readers wait for ever."""
        self._stopped = True
        self._on_idle = None
        self._link.kill()

    def _tell_if_idle(self) -> None:
        oldest = next(iter(self._streams), self._next + 1)
        while self._leaving and self._leaving[0][0] < oldest:
            self._leaving.pop(0)[1].set()
        if self._on_idle is not None and not self._streams:
            callback, self._on_idle = self._on_idle, None
            callback()

    def _lose(self) -> None:
        """Notice that the core's process has ended without a word."""
        if not self._stopped and (self._on_idle is None or self._streams):
            self._fail(LOST)

    def _fail(self, reason: str) -> None:
        """Fail every request, now and from now on; gauges keep their last values."""
        if self.dead:
            return
        self.dead = True
        self.on_death(reason)
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.asked.closed = stream.asked.failed = True
            stream.asked.wake()
        self._tell_if_idle()

    def _receive(self, reports: Sequence[Report]) -> None:
        """Take in what has come; whom it concerns is told once, however many reports those are."""
        news: dict[Asked, None] = {}
        for report in reports:
            if not (self._stopped or self.dead):
                self._take_in(report, news)
        for asked in news:
            asked.wake()
        self._tell_if_idle()

    def _take_in(self, report: Report, news: dict[Asked, None]) -> None:
        """Hand a step's tokens to their streams and count them; add whom it concerns to `news`."""
        self.stats = report
        streams, metrics = self._streams, self._metrics
        latencies: dict[float, int] = {}
        emitted = 0
        for number, latency_s in zip(report.tokens, report.latencies_s, strict=True):
            stream = streams.get(number)
            if stream is None:
                continue  # aborted while the report was on its way
            emitted += 1
            stream.ready += 1
            news[stream.asked] = None
            if latency_s is not None:
                latencies[latency_s] = latencies.get(latency_s, 0) + 1
        begun = []
        for fields in report.begun:
            first = Begun._make(fields)
            stream = streams.get(first.number)
            if stream is not None:
                stream.begun = first
                begun.append((stream, first))
        metrics.record(report, emitted, latencies, begun)
        for fields in report.ended:
            ended = Ended._make(fields)
            stream = streams.pop(ended.number, None)
            if stream is not None:
                news[stream.asked] = None
                self._finish(stream, ended, has_token=ended.number in report.tokens)
        if report.died_of is not None:
            self._fail(report.died_of)

    def _finish(self, stream: Stream, ended: Ended, *, has_token: bool) -> None:
        """Count an answer that has ended, and its prompt when it was the last of its n."""
        stream.ended = ended
        if ended.tokens < stream.answer.tokens:
            stream.ready = ended.tokens + (not has_token)
            stream.answer = stream.answer.aborted(stream.ready, is_cut=not has_token)
        self._metrics.record_finish(stream, ended)
        siblings = stream.asked.siblings(stream)
        if not any(s.number in self._streams for s in siblings):
            longest = max(s.answer.used_tokens for s in siblings)
            self._metrics.record_prompt_finish(stream.asked.n, longest)
