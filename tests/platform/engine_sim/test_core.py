"""The engine core in messages: the same as the scheduler alone, and nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_platform.engine_sim.blocks import BlockPool
from inference_platform.engine_sim.core import Core, Ended, Message, OnReports, Report
from inference_platform.engine_sim.core_process import _Cutter, _frame
from inference_platform.engine_sim.cost import StepCost
from inference_platform.engine_sim.engine import Asked, Engine
from inference_platform.engine_sim.flags import parse
from inference_platform.engine_sim.metrics import EngineMetrics
from inference_platform.engine_sim.scheduler import ContinuousBatching, Request
from inference_platform.engine_sim.tokens import Answer
from inference_platform.engine_sim.virtual import run

# Gap since the previous arrival, prompt, output.
workloads = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 0.003, 0.5]), st.integers(1, 40), st.integers(1, 25)),
    min_size=1,
    max_size=15,
)


def make_scheduler(blocks: int = 40) -> ContinuousBatching:
    """Return a scheduler that is short of blocks and places, so that it preempts and queues."""
    return ContinuousBatching(StepCost(), BlockPool(blocks, 4), 4, 24)


def words(number: int, count: int) -> list[str]:
    """Return a prompt that begins as every third one does."""
    return [f"w{number % 3}-{index}" for index in range(count)]


def through_the_socket(message: Message, cutter: _Cutter) -> Message:
    """Cut a message into two pieces and put it together again."""
    data = _frame(message)
    assert list(cutter.feed(data[:5])) == []
    return next(iter(list(cutter.feed(data[5:]))))


class VirtualLink:
    """A link whose core runs in virtual time, one step a call of `step`."""

    pid = 1

    def __init__(self, core: Core) -> None:
        self.core = core
        self._down, self._up = _Cutter(), _Cutter()
        self._on_reports: OnReports = lambda _: None
        self.now = 0.0

    def connect(self, on_reports: OnReports, on_lost: Callable[[], None]) -> None:
        del on_lost
        self._on_reports = on_reports

    def send(self, message: Message) -> None:
        self.core.handle(through_the_socket(message, self._down))
        self._deliver(self.core.news())

    def _deliver(self, report: Report | None) -> None:
        if report is not None:
            self._on_reports([Report._make(through_the_socket(tuple(report), self._up))])

    def step(self) -> bool:
        """Do the next step; False when there is none."""
        due = self.core.next_at
        if due is None:
            return False
        self.now = max(self.now, due)
        self._deliver(self.core.advance(self.now))
        return True

    def drain(self) -> None:
        pass

    def kill(self) -> None:
        pass


@settings(max_examples=60, deadline=None)
@given(workloads)
def test_a_core_in_messages_does_what_its_scheduler_does_alone(
    work: list[tuple[float, int, int]],
) -> None:
    """To the last bit: the process, the event loop and virtual time run the same code."""
    clock, requests, orders = 0.0, [], []
    for number, (gap_s, prompt, output) in enumerate(work):
        clock += gap_s
        text, answer = words(number, prompt), Answer("ab", output, "length")
        contents = lambda start, end, a=answer, t=text: a.continued(t, start, end)  # noqa: E731
        requests.append(Request(str(number), prompt, output, clock, contents))
        orders.append(("add", number, text, "ab", output, clock))
    run(make_scheduler(), requests)

    core, seen = Core(make_scheduler()), {}
    while orders or core.next_at is not None:
        due = core.next_at
        if orders and (due is None or orders[0][5] <= due):
            core.handle(orders.pop(0))
            continue
        assert due is not None
        report = core.advance(due)
        assert report is not None
        seen |= {ended[0]: Ended._make(ended) for ended in report.ended}
    for number, request in enumerate(requests):
        assert seen[number] == Ended(
            number,
            request.output_tokens,
            request.cached_tokens,
            request.preemptions,
            request.scheduled_s,
            request.first_token_s,
            request.last_token_s,
        )


def counters(metrics: EngineMetrics) -> dict[tuple[str, ...], float]:
    """Return every counter and histogram sample by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        if family.name.startswith("vllm:") and family.type in ("counter", "histogram")
        for sample in family.samples
    }


def total(metrics: EngineMetrics, name: str) -> float:
    """Return the sum of a metric's samples over its labels."""
    return sum(value for key, value in counters(metrics).items() if key[0] == name)


@settings(max_examples=40, deadline=None)
@given(workloads, st.lists(st.sampled_from(["step", "step", "submit", "abort", "hang", "go on"])))
def test_every_token_is_counted_once_and_no_request_is_lost(
    work: list[tuple[float, int, int]], acts: list[str]
) -> None:
    """Whatever happens in whatever order: streams and `/metrics` agree, counters only rise."""
    metrics = EngineMetrics(parse([]))
    link = VirtualLink(Core(make_scheduler()))
    engine = Engine(link, metrics)
    asked: list[Asked] = []
    aborted: list[Asked] = []
    before = counters(metrics)
    for act in [*acts, *(["submit"] * len(work)), "go on"]:
        if act == "submit" and work:
            _, prompt, output = work.pop()
            asked.append(Asked())
            answer = Answer("ab", output, "length")
            engine.submit(asked[-1], words(len(work), prompt), answer, output)
        elif act == "abort" and asked:
            aborted.append(asked[len(aborted) % len(asked)])
            engine.abort(aborted[-1])
        elif act == "hang":
            link.core.handle(("hang", link.now + 1e6))
        elif act == "go on":
            link.core.handle(("hang", link.now))
            link.step()
        else:
            link.step()
        after = counters(metrics)
        assert all(after[key] >= value for key, value in before.items())
        before = after
    while link.step():
        pass
    finished = [a for a in asked if a not in aborted]
    assert all(a.streams[0].ready == a.streams[0].answer.tokens for a in finished)
    shown = sum(a.streams[0].ready for a in asked)
    assert total(metrics, "vllm:generation_tokens_total") == shown
    ends = sum(a.is_over([a.streams[0].ready]) for a in asked)
    assert total(metrics, "vllm:request_success_total") == ends
    begun = sum(a.streams[0].ready > 0 for a in asked)
    assert total(metrics, "vllm:time_to_first_token_seconds_count") == begun
    assert total(metrics, "vllm:inter_token_latency_seconds_count") == shown - begun
    assert engine.unfinished == 0
    assert (engine.stats.running, engine.stats.waiting, engine.stats.kv_usage) == (0, 0, 0.0)


def test_what_is_sent_to_a_hung_core_waits() -> None:
    """Nothing moves until the hang's end; then it is as if it had just come."""
    core = Core(make_scheduler())
    core.handle(("hang", 100.0))
    core.handle(("add", 1, ["a"], "ab", 1, 50.0))
    assert core.advance(60.0) is None
    assert core.next_at == 100.0
    report = core.advance(100.0)
    assert report is not None
    assert report.running == 1


def test_a_core_dies_of_a_step_for_which_there_is_no_room() -> None:
    """Not before: an idle engine and a small step live on."""
    core = Core(make_scheduler())
    core.handle(("leave_room", 8.0, "out of memory"))
    core.handle(("add", 1, words(1, 8), "ab", 1, 0.0))
    report = core.advance(0.0)
    assert report is not None
    assert report.died_of is None
    core.handle(("add", 2, words(2, 9), "ab", 1, 0.0))
    report = core.advance(core.next_at or 0.0)
    assert report is not None
    assert (report.tokens, report.died_of) == ([1], "out of memory")
    assert core.next_at is None


def test_a_message_that_nobody_knows_is_an_error() -> None:
    """The two sides of the socket must not drift apart in silence."""
    with pytest.raises(ValueError, match="expected a command of the engine core, found 'jump'"):
        Core(make_scheduler()).handle(("jump",))


def test_the_prefix_cache_is_forgotten_only_when_nobody_uses_it() -> None:
    """And an answer tells how it went: what of its prompt was cached, and when."""
    link = VirtualLink(Core(make_scheduler()))
    engine = Engine(link, EngineMetrics(parse([])))

    def answer_once() -> int:
        asked = Asked()
        engine.submit(asked, words(0, 12), Answer("ab", 3, "length"), 3)
        assert asked.streams[0].times.first_token_s is None
        link.step()
        assert not engine.reset_prefix_cache()
        while link.step():
            pass
        times = asked.streams[0].times
        assert times.scheduled_s is not None
        assert times.last_token_s is not None
        assert times.first_token_s is not None
        assert times.arrived_s <= times.scheduled_s < times.first_token_s < times.last_token_s
        assert times.tokens == 3
        return times.cached_tokens

    assert (answer_once(), answer_once()) == (0, 8)
    assert engine.reset_prefix_cache()
    assert answer_once() == 0
