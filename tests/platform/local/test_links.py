"""Links as arithmetic, in virtual time, and what links.json can say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_platform.local.links.document import DocumentError, Link, parse
from inference_platform.local.links.path import (
    BURST_S,
    PACKET_BYTES,
    End,
    Line,
    Path,
    Segment,
    TokenBucket,
)

LINK = Link("fast-0", ("127.3.2.10", 8001), ("127.3.2.10", 8000))
CONDITIONS = st.fixed_dictionaries(
    {
        "latency_s": st.sampled_from([0.0, 0.05, 1.0]),
        "jitter_s": st.sampled_from([0.0, 0.02, 2.0]),
        "bandwidth_bytes_per_s": st.sampled_from([None, 0.5, 2000.0, 1e9]),
        "partitioned": st.booleans(),
    }
)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 2), st.integers(1, 9000)),
        st.tuples(st.just("wait"), st.floats(0, 3)),
        st.tuples(st.just("change"), CONDITIONS),
    ),
    max_size=40,
)


class Receiver:
    """What arrived on one line, and when."""

    def __init__(self) -> None:
        self.line = Line(self.arrive)
        self.segments: list[Segment] = []

    def arrive(self, segment: Segment) -> None:
        self.segments.append(segment)

    @property
    def text(self) -> bytes:
        return b"".join(s for s in self.segments if isinstance(s, bytes))


def deliver(path: Path, now: float) -> None:
    """Do what the relay's timer does."""
    for line, segment in path.take(now):
        line.arrive(segment)


def run_out(path: Path, now: float) -> float:
    """Wake the path whenever it asks for it, until it asks no more; return the time then."""
    while (wake_at := path.wake_at()) is not None:
        now = max(now, wake_at)
        deliver(path, now)
    return now


def letters(count: int, start: int) -> bytes:
    """Bytes that differ from those before and after them."""
    return bytes(i % 251 for i in range(start, start + count))


@given(ACTS)
def test_bytes_out_are_bytes_in(acts: Sequence[tuple[Any, ...]]) -> None:
    """Whatever the chunks and the conditions: each line gets its bytes, in order, FIN last."""
    path, now = Path(LINK, "seed", 0.0), 0.0
    lines = [Receiver() for _ in range(3)]
    sent = [b""] * 3
    for what, *rest in acts:
        if what == "put":
            number, count = rest
            chunk = letters(count, len(sent[number]))
            sent[number] += chunk
            path.put(lines[number].line, chunk, now)
        elif what == "wait":
            now += rest[0]
        else:
            path.change(replace(LINK, **rest[0]), now)
        deliver(path, now)
    for receiver in lines:
        path.put(receiver.line, End.FIN, now)
    path.change(LINK, now)
    run_out(path, now)

    assert [receiver.text for receiver in lines] == sent
    assert all(receiver.segments[-1] is End.FIN for receiver in lines)
    assert all(receiver.line.under_way == 0 for receiver in lines)


@given(
    st.lists(st.tuples(st.floats(0, 0.2), st.integers(1, 3000)), min_size=1),
    st.sampled_from([0.0, 0.03, 0.1, 0.5]),
    st.sampled_from([None, 20_000.0]),
)
def test_a_delayed_byte_is_never_early(
    puts: list[tuple[float, int]], jitter_s: float, rate: float | None
) -> None:
    """A chunk takes the latency less the jitter at least; alone, the latency and it at most."""
    link = replace(LINK, latency_s=0.1, jitter_s=jitter_s, bandwidth_bytes_per_s=rate)
    path, now = Path(link, "seed", 0.0), 0.0
    receiver = Receiver()
    sent_at: list[float] = []
    arrived_at: list[float] = []

    def wake(until: float) -> None:
        while (wake_at := path.wake_at()) is not None and wake_at <= until:
            deliver(path, wake_at)
            arrived_at.extend([wake_at] * (len(receiver.text) - len(arrived_at)))

    for pause_s, count in puts:
        now += pause_s
        wake(now)
        path.put(receiver.line, bytes(count), now)
        sent_at += [now] * count
    wake(1e9)

    took_s = [there - here for here, there in zip(sent_at, arrived_at, strict=True)]
    assert min(took_s) >= max(0.0, 0.1 - jitter_s) - 1e-9
    if rate is None:
        assert max(took_s) <= 0.1 + jitter_s + 1e-9


@given(
    st.floats(1, 1e7),
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 100_000)), min_size=1),
)
def test_a_bucket_lets_no_more_through_than_its_rate(
    rate: float, asks: list[tuple[float, int]]
) -> None:
    """In any time t at most rate x t and one burst pass, and the rest may when it says."""
    bucket, now, passed = TokenBucket(rate, 0.0), 0.0, 0
    depth = max(PACKET_BYTES, rate * BURST_S)
    for pause_s, wanted in asks:
        now += pause_s
        granted = bucket.take(wanted, now)
        passed += granted
        assert 0 <= granted <= wanted
        assert passed <= depth + rate * now + 1
        if granted == 0:
            now = bucket.ready_at(wanted)
            passed += (granted := bucket.take(wanted, now))
            assert granted >= min(wanted, PACKET_BYTES) - 1


def test_a_narrow_place_takes_its_time() -> None:
    """Bytes beyond the burst pass at the rate, those of two connections together."""
    path = Path(replace(LINK, bandwidth_bytes_per_s=10_000), "seed", 0.0)
    one, two = Receiver(), Receiver()
    path.put(one.line, bytes(10_000), 0.0)
    path.put(two.line, bytes(10_000), 0.0)

    took_s = run_out(path, 0.0)

    assert took_s == pytest.approx((20_000 - PACKET_BYTES) / 10_000)
    assert (len(one.text), len(two.text)) == (10_000, 10_000)


def test_a_changed_rate_holds_for_what_waits() -> None:
    """Bytes queued for days at a low rate pass at once when the limit is lifted."""
    path = Path(replace(LINK, bandwidth_bytes_per_s=1.0), "seed", 0.0)
    receiver = Receiver()
    path.put(receiver.line, bytes(100_000), 0.0)
    path.change(LINK, 1.0)
    deliver(path, 1.0)

    assert len(receiver.text) == 100_000


def test_what_is_under_way_keeps_its_latency_and_its_place() -> None:
    """A shorter latency neither hurries bytes under way nor lets later ones overtake."""
    path = Path(replace(LINK, latency_s=1.0), "seed", 0.0)
    receiver = Receiver()
    path.put(receiver.line, b"first", 0.0)
    path.change(LINK, 0.1)
    path.put(receiver.line, b"second", 0.1)
    deliver(path, 0.99)
    assert receiver.segments == []
    deliver(path, 1.0)
    assert receiver.segments == [b"first", b"second"]


def test_a_partition_holds_everything_and_loses_nothing() -> None:
    """Bytes that were due, and bytes that came, pass when it heals, and nobody wakes before."""
    path = Path(replace(LINK, latency_s=1.0), "seed", 0.0)
    receiver = Receiver()
    path.put(receiver.line, b"due", 0.0)
    path.change(replace(LINK, partitioned=True), 0.5)
    path.put(receiver.line, b"came", 0.6)
    deliver(path, 5.0)
    assert (receiver.segments, path.wake_at()) == ([], None)
    path.change(LINK, 6.0)
    deliver(path, 6.0)
    assert receiver.segments == [b"due", b"came"]


def test_bytes_to_nowhere_use_no_bandwidth() -> None:
    """What waits for a connection that has ended makes nobody wait."""
    path = Path(replace(LINK, bandwidth_bytes_per_s=10.0), "seed", 0.0)
    gone, here = Receiver(), Receiver()
    path.put(gone.line, bytes(100_000), 0.0)
    path.put(here.line, bytes(10), 0.0)
    gone.line.dead = True
    assert run_out(path, 0.0) <= 1.0
    assert (gone.segments, len(here.text)) == ([], 10)


def test_the_seed_decides_the_jitter() -> None:
    """The same seed gives the same delays, another one others, all within the bounds."""
    link = replace(LINK, latency_s=0.1, jitter_s=0.3)

    def delays(seed: str) -> list[float]:
        path = Path(link, seed, 0.0)
        return [path.delay_s() for _ in range(50)]

    assert delays("a") == delays("a") != delays("b")
    assert min(delays("a")) == 0.0  # latency ends there
    assert max(delays("a")) <= 0.4


def row(**changes: object) -> dict[str, object]:
    """One row of links.json."""
    return {"name": "a", "listen": ["127.0.0.1", 1], "to": ["127.0.0.1", 2], **changes}


def test_a_row_may_leave_conditions_out() -> None:
    """What is not said is undisturbed."""
    assert parse(json.dumps({"version": 7, "links": [row()]})) == (
        7,
        [Link("a", ("127.0.0.1", 1), ("127.0.0.1", 2), 0.0, 0.0, None, 0.0, partitioned=False)],
    )


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "expected JSON"),
        ([], "expected {"),
        ({"version": 1}, "expected {"),
        ({"version": True, "links": []}, "version: expected a whole number, found True"),
        ({"version": 1, "links": [7]}, r"links\[0\]: expected an object, found 7"),
        ({"version": 1, "links": [row(latency_ms=3)]}, r"links\[0\].latency_ms: no such key"),
        ({"version": 1, "links": [{"name": "a"}]}, r"links\[0\].listen: expected a value"),
        ({"version": 1, "links": [row(name="")]}, r"links\[0\].name: expected a name"),
        ({"version": 1, "links": [row(listen=["10.0.0.1", 1])]}, "expected .*127.x.y.z"),
        ({"version": 1, "links": [row(listen=["127.one", 1])]}, "expected .*127.x.y.z"),
        ({"version": 1, "links": [row(to=["127.0.0.1", 0])]}, r"links\[0\].to: expected"),
        ({"version": 1, "links": [row(to="127.0.0.1:80")]}, r"links\[0\].to: expected"),
        ({"version": 1, "links": [row(latency_s=-1)]}, "latency_s: expected seconds, 0 or more"),
        ({"version": 1, "links": [row(latency_s=None)]}, "latency_s: expected seconds"),
        ({"version": 1, "links": [row(jitter_s=float("nan"))]}, "jitter_s: expected seconds"),
        ({"version": 1, "links": [row(reset_ratio=1.1)]}, "reset_ratio: expected .* 0 to 1"),
        ({"version": 1, "links": [row(bandwidth_bytes_per_s=0)]}, "expected null or more than 0"),
        ({"version": 1, "links": [row(partitioned=1)]}, "partitioned: expected true or false"),
        ({"version": 1, "links": [row(), row(listen=["127.0.0.1", 3])]}, "a name of its own"),
        ({"version": 1, "links": [row(), row(name="b")]}, "a listen of its own"),
    ],
)
def test_a_document_that_cannot_be_used_says_where(document: object, said: str) -> None:
    """One line: where, what was expected, what was found."""
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(DocumentError, match=said) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
