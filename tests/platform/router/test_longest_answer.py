"""The longest answer: whatever an answer waits for, it is over when the router says so."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from expiring import ALLOWED_S, Expire, expiring

from inference_platform.router.upstream import Connection

Start = Callable[..., Awaitable[Any]]


@pytest.fixture
def expire(monkeypatch: pytest.MonkeyPatch) -> Expire:
    """Makes the time of every answer under way pass at once."""
    return expiring(monkeypatch)


async def _talks(exchange: Any, wire: Any) -> None:
    """A stream that is never silent and never ends."""
    await exchange.send(wire.HEAD + wire.CHUNKED)
    while not exchange.gone.is_set():
        await exchange.send(wire.chunk(wire.event("a")))
        await asyncio.sleep(0.001)


async def test_a_stream_that_goes_on_for_ever_is_ended(
    router: Start, upstream: Start, wire: Any, expire: Expire
) -> None:
    """Each token resets the silence, so only a bound on the whole ends it: said, counted, freed."""
    replica = await upstream("fast-0", lambda exchange: _talks(exchange, wire))
    other = await upstream("fast-1", lambda exchange: _talks(exchange, wire))
    door = await router(replica, other, answer_timeout_s=ALLOWED_S)
    async with asyncio.timeout(10):
        client = await door.open(wire.CHAT)
        await client.head()
        first = await client.part()
        assert expire() == 1
        got = await client.finish()
    assert first.startswith(wire.event("a"))
    assert (got.status, got.whole) == (200, True)
    *tokens, error, done = got.events
    assert set(tokens) <= {wire.event("a").decode().strip().removeprefix("data: ")}
    said = json.loads(error)["error"]
    assert (said["type"], said["code"], said["param"]) == ("answer_timeout", 504, None)
    assert "1234 s" in said["message"]
    assert done == "[DONE]"
    ((served, exchange),) = [(u.name, e) for u in (replica, other) for e in u.exchanges]
    await wire.eventually(exchange.gone.is_set, "the engine to be freed")
    assert door.metric("overdue_total", tier="fast") == 1
    assert door.metric("streams_cut_total", tier="fast", replica=served) == 1
    assert door.metric("requests_total", tier="fast", code="200", outcome="cut") == 1
    assert door.metric("inflight", tier="fast", replica=served) == 0


async def test_a_client_that_does_not_read_keeps_no_engine(
    router: Start, upstream: Start, wire: Any, expire: Expire
) -> None:
    """The router waits for the client then, not for the engine; the bound holds all the same."""
    big = wire.event("x" * 65536)
    written = 0

    async def script(exchange: Any) -> None:
        nonlocal written
        await exchange.send(wire.HEAD + wire.CHUNKED)
        while not exchange.gone.is_set():
            await exchange.send(wire.chunk(big))
            written += 1

    replica = await upstream("fast-0", script)
    door = await router(replica, answer_timeout_s=ALLOWED_S)
    client = await door.open(wire.CHAT)
    await client.head()
    seen = -1
    while seen < written:  # until the replica makes no more progress
        seen = written
        await asyncio.sleep(0.2)
    assert expire() == 1
    await wire.eventually(replica.exchanges[0].gone.is_set, "the engine to be freed")
    counted = {"tier": "fast", "code": "200", "outcome": "cut"}
    await wire.eventually(lambda: door.metric("requests_total", **counted) == 1, "the count")
    assert door.metric("overdue_total", tier="fast") == 1
    assert door.metric("streams_cut_total", tier="fast", replica="fast-0") == 1
    client.leave()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_all_attempts_share_one_time(
    router: Start, upstream: Start, wire: Any, expire: Expire, *, stream: bool
) -> None:
    """A second attempt gets what the first has left; before the first byte it is a plain 504.

    Of a whole reply nothing comes before its end, so its silence may be a replica that hangs: it
    is not said to be too long, nor counted as such.
    """

    async def dies(exchange: Any) -> None:
        exchange.die()

    async def silent(exchange: Any) -> None:
        if stream:
            await exchange.send(wire.HEAD + wire.CHUNKED)

    lost = await upstream("fast-0", dies)
    door = await router(lost, answer_timeout_s=ALLOWED_S, no_replica_wait_s=60.0, eject_s_min=60.0)
    asked = asyncio.create_task(door.ask(wire.CHAT | {"stream": stream}))
    await wire.eventually(lambda: lost.exchanges, "the first attempt")
    second = await upstream("fast-1", silent)
    door.announce(lost, second)
    await wire.eventually(lambda: second.exchanges, "the second attempt")
    assert expire() == 1
    got = await asked
    assert got.status == 504
    assert got.json["error"]["type"] == ("answer_timeout" if stream else "upstream_timeout")
    assert got.headers["x-router-retries"] == "1"
    await wire.eventually(second.exchanges[0].gone.is_set, "the engine to be freed")
    assert door.metric("overdue_total", tier="fast") == (1 if stream else 0)
    assert door.metric("requests_total", tier="fast", code="504", outcome="upstream_error") == 1
    assert door.metric("streams_cut_total", tier="fast", replica="fast-1") == 0


async def test_a_whole_reply_that_has_begun_is_overdue(
    router: Start, upstream: Start, wire: Any, expire: Expire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its replica does not hang: it is the answer that takes too long."""

    async def half(exchange: Any) -> None:
        await exchange.send(wire.reply(200, {"text": "x" * 100})[:-20])
        await exchange.gone.wait()

    replica = await upstream("fast-0", half)
    door = await router(replica, answer_timeout_s=ALLOWED_S, idle_timeout_s=60.0)
    heard: list[bytes] = []
    read = Connection.read

    async def reads(self: Connection, timeout_s: float) -> bytes:
        heard.append(await read(self, timeout_s))
        return heard[-1]

    monkeypatch.setattr(Connection, "read", reads)
    asked = asyncio.create_task(door.ask(wire.CHAT | {"stream": False}))
    await wire.eventually(lambda: any(b"xxx" in part for part in heard), "half of the reply")
    assert expire() == 1
    got = await asked
    assert (got.status, got.json["error"]["type"]) == (504, "answer_timeout")
    assert door.metric("overdue_total", tier="fast") == 1


async def test_a_wait_for_a_replica_counts_too(router: Start, wire: Any) -> None:
    """Real time: nothing answers here, so that the bound is the only way out."""
    door = await router(tiers=("fast",), answer_timeout_s=0.05, no_replica_wait_s=60.0)
    got = await door.ask(wire.CHAT)
    assert (got.status, got.json["error"]["type"]) == (504, "answer_timeout")


async def test_an_answer_in_time_leaves_no_trace(
    router: Start, upstream: Start, wire: Any, expire: Expire
) -> None:
    """Counted from 0, so that the first overdue answer is a rise."""
    door = await router(await upstream("fast-0"), answer_timeout_s=ALLOWED_S)
    assert (await door.ask(wire.CHAT)).whole
    assert door.metric("overdue_total", tier="fast") == 0
    assert door.metric("requests_total", tier="fast", code="200", outcome="ok") == 1
