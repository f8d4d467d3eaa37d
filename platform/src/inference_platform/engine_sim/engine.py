"""Drives a scheduler on the wall clock and hands its tokens to the streams that wait for them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from inference_platform.engine_sim.metrics import EngineMetrics
from inference_platform.engine_sim.scheduler import Request, Scheduler
from inference_platform.engine_sim.tokens import Answer

# A step that comes later than this was held up by something outside the model (the process was
# stopped, the machine is overloaded): the schedule starts anew from the present instead of
# hurrying to catch up.
MAX_LAG_S = 0.1
# The event loop's timers tick in milliseconds; a timer that fires this early counts as on time.
TIMER_SLACK_S = 0.0002


class Times(NamedTuple):
    """How an answer went; None for what has not happened yet."""

    arrived_s: float
    scheduled_s: float | None
    first_token_s: float | None
    last_token_s: float | None
    tokens: int
    cached_tokens: int


class Stream:
    """One answer on its way out: `ready` of its tokens may be shown."""

    __slots__ = ("answer", "asked", "max_tokens", "ready", "request")

    def __init__(self, asked: Asked, request: Request, answer: Answer, max_tokens: int) -> None:
        """Start with nothing to show."""
        self.asked = asked
        self.request = request
        self.answer = answer
        self.max_tokens = max_tokens
        self.ready = 0

    @property
    def times(self) -> Times:
        """How it went so far."""
        r = self.request
        last = (r.last_token_s, r.emitted_tokens, r.cached_tokens)
        return Times(r.arrived_s, r.scheduled_s, r.first_token_s, *last)


class Asked:
    """What one HTTP request asked for: one stream for each of its answers, and who waits for them.

    `closed` means that no more will come, because the request was aborted or, when `failed`, the
    engine died. `n` is the number of answers to each prompt.
    """

    __slots__ = ("_waiter", "closed", "failed", "n", "streams")

    def __init__(self, n: int = 1) -> None:
        """Start without streams."""
        self.n = n
        self.streams: list[Stream] = []
        self.closed = False
        self.failed = False
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
        while not self._has_news(shown):
            if self.closed:
                return False
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return True

    def _has_news(self, shown: Sequence[int]) -> bool:
        if len(shown) == 1:
            return self.streams[0].ready > shown[0]
        return any(s.ready > n for n, s in zip(shown, self.streams, strict=True))

    def siblings(self, stream: Stream) -> list[Stream]:
        """Return the streams that answer the same prompt."""
        first = self.streams.index(stream) // self.n * self.n
        return self.streams[first : first + self.n]

    def wake(self) -> None:
        """Let the reader look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Engine:
    """The engine core: one scheduler, one timer, and the streams by request.

    It can hang: nothing reaches the scheduler and nothing comes out, so that `/metrics` stands
    still; what was sent meanwhile is taken in afterwards. Sleeping is the same without an end.
    And it can die, which ends every stream.
    `on_death` is called then, with the reason.

    Args:
        scheduler: decides what comes out when.
        metrics: what `/metrics` shows; updated as tokens come out.
    """

    def __init__(self, scheduler: Scheduler, metrics: EngineMetrics) -> None:
        """Start idle; the event loop is needed only from the first request on."""
        self.scheduler = scheduler
        self._metrics = metrics
        self._streams: dict[Request, Stream] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due: float | None = None
        self._stopped = False
        self._hang: asyncio.TimerHandle | None = None
        self._inbox: list[Callable[[], None]] = []  # what to tell the scheduler after a hang
        self.dead = False
        self.asleep = False
        self.paused = False
        self.slow_factor = 1.0
        self.on_death: Callable[[str], None] = lambda _: None
        self._on_idle: Callable[[], None] | None = None
        metrics.watch(scheduler)

    @property
    def unfinished(self) -> int:
        """Requests running and waiting."""
        return len(self._streams)

    @property
    def load(self) -> tuple[int, float]:
        """Requests that wait, and the share of the KV blocks in use."""
        return self.scheduler.waiting, self.scheduler.kv_usage

    @property
    def state(self) -> str:
        """Return serving, hung or dead."""
        if self.dead:
            return "dead"
        return "serving" if self._hang is None else "hung"

    @property
    def prefill_backlog(self) -> int:
        """Prompt tokens of the requests that wait for their first token."""
        return sum(r.prompt_tokens for r in self._streams if not r.emitted_tokens)

    def submit(
        self, asked: Asked, request_id: str, prompt: Sequence[str], answer: Answer, max_tokens: int
    ) -> None:
        """Take in one answer that was asked for; ValueError if it can never fit the cache."""
        request = Request(
            request_id,
            len(prompt),
            answer.tokens,
            time.monotonic(),
            lambda start, end: answer.continued(prompt, start, end),
        )
        stream = Stream(asked, request, answer, max_tokens)
        self._tell(lambda: self.scheduler.add(request))
        self._streams[request] = stream
        asked.streams.append(stream)

    def abort(self, asked: Asked) -> None:
        """Free a request whose reader has gone; metrics never hear of it.

        Harmless after the request's end.
        """
        for stream in asked.streams:
            if self._streams.pop(stream.request, None) is not None:
                self._tell(partial(self.scheduler.abort, stream.request))
        asked.closed = True
        asked.wake()
        self._tell_if_idle()

    def die(self, reason: str) -> None:
        """Fail every request, now and from now on; gauges keep their last values."""
        if self.dead:
            return
        self.stop()
        self.dead = True
        self.on_death(reason)
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.asked.closed = stream.asked.failed = True
            stream.asked.wake()
        self._tell_if_idle()

    def hang(self, seconds: float) -> None:
        """Stand still for so long from now; 0 goes on at once. ValueError when it is dead."""
        if self.dead:
            raise ValueError("the engine is dead: it cannot hang")
        if self._hang is not None:
            self._hang.cancel()
        self._cancel_timer()
        self._hang = asyncio.get_running_loop().call_later(seconds, self._go_on)

    def sleep(self, level: int) -> None:
        """Stand still until `wake_up`; requests are taken in and wait."""
        self.asleep = True
        self._cancel_timer()
        self._metrics.show_sleep(level)

    def wake_up(self) -> None:
        """End the sleep."""
        self.asleep = False
        self._metrics.show_sleep(0)
        self._catch_up()

    def abort_all(self) -> None:
        """End every answer where it is: a silent last token brings the finish reason "abort"."""
        for request, stream in list(self._streams.items()):
            del self._streams[request]
            self._tell(partial(self.scheduler.abort, request))
            stream.ready += 1
            stream.answer = replace(stream.answer, tokens=stream.ready, finish_reason="abort")
            self._metrics.record_abort()
            stream.asked.wake()
        self._tell_if_idle()

    def reset_prefix_cache(self) -> bool:
        """Forget what is cached; False, and no change, while a request holds blocks."""
        return self.scheduler.forget()

    def slow_down(self, factor: float) -> None:
        """Make every later step so many times as long; ValueError with known timing."""
        self.scheduler.slow_down(factor)
        self.slow_factor = factor

    def _go_on(self) -> None:
        """End a hang: the scheduler hears what has happened."""
        self._hang = None
        self._catch_up()

    def _catch_up(self) -> None:
        """Go on, unless something else still holds us up."""
        if self._is_frozen:
            return
        inbox, self._inbox = self._inbox, []
        for message in inbox:
            message()
        self._arm()

    @property
    def _is_frozen(self) -> bool:
        return self.asleep or self._hang is not None

    def _tell(self, message: Callable[[], None]) -> None:
        """Let the scheduler know, at once or when it is there again."""
        if self._is_frozen:
            self._inbox.append(message)
        elif not self.dead:
            message()
            self._arm()

    def stop(self) -> None:
        """Freeze: no token comes out any more, and readers wait for ever."""
        self._stopped = True
        if self._hang is not None:
            self._hang.cancel()
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timer_due = None

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call `callback` as soon as no request is left."""
        self._on_idle = callback
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if self._on_idle is not None and not self._streams:
            callback, self._on_idle = self._on_idle, None
            callback()

    def _record_finish(self, stream: Stream) -> None:
        """Count an answer that is complete, and its prompt when it was the last of its n."""
        request = stream.request
        self._metrics.record_finish(request, stream.answer.finish_reason, stream.max_tokens)
        siblings = stream.asked.siblings(stream)
        if not any(s.request in self._streams for s in siblings):
            longest = max(s.request.emitted_tokens for s in siblings)
            self._metrics.record_prompt_finish(stream.asked.n, longest)

    def _arm(self) -> None:
        """Set the timer to when the scheduler wants its next step."""
        due = self.scheduler.next_at
        if self._stopped or self._is_frozen or due == self._timer_due:
            return
        self._cancel_timer()
        self._timer_due = due
        self._timer = None if due is None else self._call_at(due)

    def _call_at(self, due: float) -> asyncio.TimerHandle:
        # Rounded up to the timer's tick, so that no token is early.
        delay_ms = max(0, math.ceil((due - TIMER_SLACK_S - time.monotonic()) * 1000))
        return asyncio.get_running_loop().call_later(delay_ms / 1000, self._tick)

    def _tick(self) -> None:
        """Step the scheduler, at the time it asked for rather than at the time we woke up."""
        due, now = self._timer_due, time.monotonic()
        if due is None or self._stopped:
            return
        if now < due - TIMER_SLACK_S:
            self._timer = self._call_at(due)
            return
        self._timer_due = None
        output = self.scheduler.step(due if now - due < MAX_LAG_S else now)
        self._metrics.record(output)
        for request in output.tokens:
            stream = self._streams[request]
            stream.ready = request.emitted_tokens
            if request.finished:
                del self._streams[request]
                self._record_finish(stream)
            stream.asked.wake()
        self._arm()
        self._tell_if_idle()
