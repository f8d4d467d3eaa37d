"""The engine core: a scheduler that is spoken to in messages. No clock, no sockets, no streams.

Whoever drives it says what time it is: `core_local` on the event loop of the API server,
`core_process` in a process of its own. Messages and reports are plain tuples of numbers, strings
and lists, so that they cross a process boundary as they are. One report a step, as in vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from inference_platform.engine_sim.scheduler import Request, Scheduler, StepOutput
from inference_platform.engine_sim.tokens import Answer

# A step that comes later than this was held up by something outside the model (the process was
# stopped, the machine is overloaded): the schedule starts anew from the present instead of
# hurrying to catch up.
MAX_LAG_S = 0.1
# Timers tick; one that fires this early counts as on time.
TIMER_SLACK_S = 0.0002
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory."

Message = tuple[Any, ...]  # the name of one of `Core`'s commands, and its arguments


class Order(NamedTuple):
    """A request on its way to the core. `tag` decides the words of its answer."""

    number: int
    prompt: list[str]
    tag: str
    output_tokens: int
    arrived_s: float


class Begun(NamedTuple):
    """A request that got its first token in this step."""

    number: int
    cached_tokens: int
    scheduled_s: float
    first_token_s: float


class Ended(NamedTuple):
    """A request that got its last token in this step, or was ended by `abort_all` after it.

    Times are None for what has not happened.
    """

    number: int
    tokens: int
    cached_tokens: int
    preemptions: int
    scheduled_s: float | None
    first_token_s: float | None
    last_token_s: float | None


class Report(NamedTuple):
    """What a step changed. `tokens` are the numbers of the requests that got one.

    `latencies_s[i]` is the inter-token latency of `tokens[i]`, None where it is the first.
    `begun` and `ended` hold plain tuples with the fields of `Begun` and `Ended`. `work` is
    `scheduler.Work` as a tuple, all steps so far. `died_of` is None while the core lives.
    """

    tokens: list[int]
    latencies_s: list[float | None]
    begun: list[tuple[Any, ...]]
    ended: list[tuple[Any, ...]]
    preempted: int
    cache_queries: int
    cache_hits: int
    running: int
    waiting: int
    kv_usage: float
    work: tuple[float, ...]
    died_of: str | None


IDLE = Report([], [], [], [], 0, 0, 0, 0, 0, 0.0, (0, 0.0, 0, 0, 0), None)


OnReports = Callable[[Sequence[Report]], None]  # takes those that have come together


class Link(Protocol):
    """How the API server reaches its core, wherever that runs."""

    @property
    def pid(self) -> int:
        """The core's process."""

    def connect(self, on_reports: OnReports, on_lost: Callable[[], None]) -> None:
        """Say who takes reports, and whom to tell when the core is gone without a word."""

    def send(self, message: Message) -> None:
        """Tell the core something; never waits."""

    def drain(self) -> None:
        """Let the core know that it is to end when its requests have."""

    def kill(self) -> None:
        """End the core now: no report comes any more. Harmless when it has ended."""


@dataclass(slots=True)
class _Room:
    """Activation memory: how many tokens of a step fit beside what others hold."""

    tokens: float
    reason: str


class Core:
    """One scheduler, and what can happen to it.

    It can hang: nothing reaches the scheduler and nothing comes out; what was sent meanwhile is
    taken in afterwards. Sleeping is the same without an end. And it can die.

    Args:
        scheduler: decides what comes out when.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        """Start idle."""
        self.scheduler = scheduler
        self.died_of: str | None = None
        self._requests: dict[int, Request] = {}
        self._numbers: dict[Request, int] = {}
        self._inbox: list[Message] = []  # what to tell the scheduler after a hang
        self._asleep = False
        self._abort_to = 0  # requests up to this number end with the step in flight
        self._hung_until_s: float | None = None
        self._room: _Room | None = None
        self._shown: tuple[float, ...] = (0, 0, 0.0)
        self._at_once: dict[str, Callable[..., None]] = {
            "hang": self._hang,
            "sleep": self._sleep,
            "wake_up": self._wake_up,
            "die": self._die,
            "slow_down": scheduler.slow_down,
            "leave_room": self._leave_room,
        }

    @property
    def unfinished(self) -> int:
        """Requests running and waiting."""
        return len(self._requests)

    @property
    def next_at(self) -> float | None:
        """When to call `advance` next; None while only a message can change anything."""
        if self.died_of is not None or self._asleep:
            return None
        return self.scheduler.next_at if self._hung_until_s is None else self._hung_until_s

    def handle(self, message: Message) -> None:
        """Take a message in, or keep it until the scheduler is there again."""
        command = self._at_once.get(message[0])
        if command is not None:
            command(*message[1:])
        elif self._asleep or self._hung_until_s is not None:
            self._inbox.append(message)
        else:
            self._pass_on(message)

    def advance(self, now: float) -> Report | None:
        """Do the step that is due; None when there is nothing new to say.

        The step is done at the time the scheduler asked for rather than at the time we woke up.
        """
        if self._hung_until_s is not None and now >= self._hung_until_s:
            self._hung_until_s = None
            self._catch_up()
        due = self.next_at
        if due is None or self._hung_until_s is not None or now < due - TIMER_SLACK_S:
            return self.news()
        output = self.scheduler.step(due if now - due < MAX_LAG_S else now)
        if self._room is not None and self.scheduler.work.last_tokens > self._room.tokens:
            self.died_of = self._room.reason
        return self._report(output)

    def news(self) -> Report | None:
        """Report what changed without a step; None when nothing did."""
        if self._gauges() == self._shown and self.died_of is None:
            return None
        return self._report(StepOutput(), is_idle=True)

    def _gauges(self) -> tuple[int, int, float]:
        scheduler = self.scheduler
        return (scheduler.running, scheduler.waiting, scheduler.kv_usage)

    def _end_aborted(self) -> list[tuple[Any, ...]]:
        """End what was to end with this step; return what is told of it."""
        ended = []
        for number in [n for n in self._requests if n <= self._abort_to]:
            request = self._requests.pop(number)
            del self._numbers[request]
            self.scheduler.abort(request)
            ended.append(_ended(number, request))
        self._abort_to = 0
        return ended

    def _report(self, output: StepOutput, *, is_idle: bool = False) -> Report:
        numbers, tokens, begun, ended = self._numbers, [], [], []
        for request, latency_s in zip(output.tokens, output.latencies_s, strict=True):
            number = numbers[request]
            tokens.append(number)
            if latency_s is None:
                times = (request.scheduled_s, request.first_token_s)
                begun.append((number, request.cached_tokens, *times))
            if request.emitted_tokens >= request.output_tokens:
                ended.append(_ended(number, request))
                del self._requests[number], numbers[request]
        if self._abort_to and not is_idle:
            ended += self._end_aborted()
        self._shown = gauges = self._gauges()
        return Report(
            tokens,
            output.latencies_s,
            begun,
            ended,
            output.preempted,
            output.cache_queries,
            output.cache_hits,
            *gauges,
            self.scheduler.work.totals(),
            self.died_of,
        )

    def _pass_on(self, message: Message) -> None:
        if message[0] == "abort":
            request = self._requests.pop(message[1], None)
            if request is not None:
                del self._numbers[request]
                self.scheduler.abort(request)
        elif message[0] == "abort_all":
            self._abort_to = message[1]
        elif message[0] == "add":
            self._add(Order(*message[1:]))
        elif message[0] == "forget":
            self.scheduler.forget()
        else:
            raise ValueError(f"expected a command of the engine core, found {message[0]!r}")

    def _add(self, order: Order) -> None:
        # The reason an answer ends for does not change what its tokens are.
        answer = Answer(order.tag, order.output_tokens, "length")
        request = Request(
            str(order.number),
            len(order.prompt),
            order.output_tokens,
            order.arrived_s,
            lambda start, end: answer.continued(order.prompt, start, end),
        )
        self.scheduler.add(request)
        self._requests[order.number] = request
        self._numbers[request] = order.number

    def _hang(self, until_s: float) -> None:
        """Stand still until then, in the clock of `advance`."""
        self._hung_until_s = until_s

    def _sleep(self) -> None:
        self._asleep = True

    def _wake_up(self) -> None:
        self._asleep = False
        if self._hung_until_s is None:
            self._catch_up()

    def _die(self, reason: str) -> None:
        self.died_of = reason

    def _leave_room(self, tokens: float, reason: str) -> None:
        """Die of a step that computes more than so many tokens."""
        self._room = _Room(tokens, reason)

    def _catch_up(self) -> None:
        """Tell the scheduler what has happened meanwhile."""
        if self._asleep:
            return
        inbox, self._inbox = self._inbox, []
        for message in inbox:
            self._pass_on(message)


def _ended(number: int, request: Request) -> tuple[Any, ...]:
    return (
        number,
        request.emitted_tokens,
        request.cached_tokens,
        request.preemptions,
        request.scheduled_s,
        request.first_token_s,
        request.last_token_s,
    )
