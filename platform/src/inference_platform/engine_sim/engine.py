"""Drives a scheduler on the wall clock and hands its tokens to the streams that wait for them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from inference_platform.engine_sim.metrics import EngineMetrics
from inference_platform.engine_sim.scheduler import Request, Scheduler
from inference_platform.engine_sim.tokens import Answer

# A step that comes later than this was held up by something outside the model (the process was
# stopped, the machine is overloaded): the schedule starts anew from the present instead of
# hurrying to catch up.
MAX_LAG_S = 0.1
# The event loop's timers tick in milliseconds; a timer that fires this early counts as on time.
TIMER_SLACK_S = 0.0002


class Stream:
    """One answer on its way out.

    `ready` is the number of tokens that may be shown; the words are in `answer`. `closed` means
    that no more will come, because the request was aborted or, when `failed`, the engine died.
    """

    __slots__ = ("_waiter", "answer", "closed", "failed", "max_tokens", "ready", "request")

    def __init__(self, request: Request, answer: Answer, max_tokens: int) -> None:
        """Start with nothing to show."""
        self.request = request
        self.answer = answer
        self.max_tokens = max_tokens
        self.ready = 0
        self.closed = False
        self.failed = False
        self._waiter: asyncio.Future[None] | None = None

    async def more(self, shown: int) -> int:
        """Wait until more than `shown` tokens are ready or none will come; return how many are."""
        while self.ready <= shown and not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.ready

    def wake(self) -> None:
        """Let the reader look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Engine:
    """The engine core: one scheduler, one timer, and the streams by request.

    It can hang: nothing reaches the scheduler and nothing comes out, so that `/metrics` stands
    still; what was sent meanwhile is taken in afterwards. And it can die, which ends every stream.
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
        self.slow_factor = 1.0
        self.on_death: Callable[[str], None] = lambda _: None
        self._on_idle: Callable[[], None] | None = None
        metrics.watch(scheduler)

    @property
    def unfinished(self) -> int:
        """Requests running and waiting."""
        return len(self._streams)

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
        self, request_id: str, prompt: Sequence[str], answer: Answer, max_tokens: int
    ) -> Stream:
        """Take a request in and return its stream; ValueError if it can never fit the cache."""
        request = Request(
            request_id,
            len(prompt),
            answer.tokens,
            time.monotonic(),
            lambda start, end: answer.continued(prompt, start, end),
        )
        stream = self._streams[request] = Stream(request, answer, max_tokens)
        self._tell(lambda: self.scheduler.add(request))
        return stream

    def abort(self, stream: Stream) -> None:
        """Free a request whose reader has gone; metrics never hear of it.

        Harmless after the request's end.
        """
        if self._streams.pop(stream.request, None) is None:
            return
        self._tell(lambda: self.scheduler.abort(stream.request))
        stream.closed = True
        stream.wake()
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
            stream.closed = stream.failed = True
            stream.wake()
        self._tell_if_idle()

    def hang(self, seconds: float) -> None:
        """Stand still for so long from now; 0 goes on at once. ValueError when it is dead."""
        if self.dead:
            raise ValueError("the engine is dead: it cannot hang")
        if self._hang is not None:
            self._hang.cancel()
        self._cancel_timer()
        self._hang = asyncio.get_running_loop().call_later(seconds, self._go_on)

    def slow_down(self, factor: float) -> None:
        """Make every later step so many times as long; ValueError with known timing."""
        self.scheduler.slow_down(factor)
        self.slow_factor = factor

    def _go_on(self) -> None:
        """End a hang: the scheduler hears what has happened."""
        self._hang = None
        inbox, self._inbox = self._inbox, []
        for message in inbox:
            message()
        self._arm()

    def _tell(self, message: Callable[[], None]) -> None:
        """Let the scheduler know, at once or when it is there again."""
        if self._hang is not None:
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

    def _arm(self) -> None:
        """Set the timer to when the scheduler wants its next step."""
        due = self.scheduler.next_at
        if self._stopped or self._hang is not None or due == self._timer_due:
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
                self._metrics.record_finish(request, stream.answer.finish_reason, stream.max_tokens)
            stream.wake()
        self._arm()
        self._tell_if_idle()
