"""Streams: what is passed on, and how one ends when its replica does not finish it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Start = Callable[..., Awaitable[Any]]


async def test_a_stream_is_passed_on_byte_for_byte(
    router: Start, upstream: Start, wire: Any
) -> None:
    """The client gets the engine's events unchanged, and learns who served them."""
    replica = await upstream("fast-0")
    door = await router(replica)
    got = await door.ask(wire.CHAT)
    assert (got.status, got.whole) == (200, True)
    assert got.body == wire.event("a") + wire.event("b") + wire.DONE
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (got.headers["x-served-by"], got.headers["x-router-retries"]) == ("fast-0", "0")
    assert door.metric("requests_total", tier="fast", code="200", outcome="ok") == 1
    assert door.metric("ttft_seconds_count", tier="fast") == 1
    assert door.metric("e2e_seconds_count", tier="fast") == 1
    assert door.metric("inflight", tier="fast", replica="fast-0") == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_any_split_of_the_bytes_gives_the_same_stream(
    router: Start, upstream: Start, wire: Any, size: int
) -> None:
    """Neither TCP segments nor HTTP chunks need to end where events end."""
    events = wire.event("a") + wire.event("b\u00e9\U0001f600") + wire.DONE

    async def script(exchange: Any) -> None:
        chunks = b"".join(
            wire.chunk(events[at : at + 5 * size]) for at in range(0, len(events), 5 * size)
        )
        raw = wire.HEAD + wire.CHUNKED + chunks + b"0\r\n\r\n"
        await exchange.send(*(raw[at : at + size] for at in range(0, len(raw), size)))

    door = await router(await upstream("fast-0", script))
    got = await door.ask(wire.CHAT)
    assert got.body == events
    assert got.whole
    assert door.metric("requests_total", tier="fast", code="200", outcome="ok") == 1


async def test_each_event_is_passed_on_as_it_comes(
    router: Start, upstream: Start, wire: Any
) -> None:
    """The router never waits for a second event before it sends the first."""
    go_on = asyncio.Event()

    async def script(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED, wire.chunk(wire.event("a")))
        await go_on.wait()
        await exchange.send(wire.chunk(wire.DONE) + b"0\r\n\r\n")

    door = await router(await upstream("fast-0", script))
    async with asyncio.timeout(5):
        client = await door.open(wire.CHAT)
        await client.head()
        assert await client.part() == wire.event("a")
        go_on.set()
        assert (await client.finish()).body == wire.DONE


@pytest.mark.parametrize("half", [b"", b'data: {"choices": [{"ind'], ids=["whole", "half event"])
async def test_a_replica_lost_mid_stream_gives_an_error_event_and_no_retry(
    router: Start, upstream: Start, wire: Any, half: bytes
) -> None:
    """After the first byte a loss is said in the stream, cleanly, and never tried again."""

    async def script(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED, wire.chunk(wire.event("a") + half))
        await asyncio.sleep(0.02)
        exchange.die()

    first, second = await upstream("fast-0", script), await upstream("fast-1", script)
    door = await router(first, second)
    got = await door.ask(wire.CHAT)
    assert got.whole
    assert got.status == 200
    token, error, done = got.events
    assert token == wire.event("a").decode().strip().removeprefix("data: ")
    assert json.loads(error)["error"] == {
        "message": "upstream replica lost mid-stream",
        "type": "upstream_lost",
        "param": None,
        "code": 502,
    }
    assert done == "[DONE]"
    assert len(first.exchanges) + len(second.exchanges) == 1
    served = got.headers["x-served-by"]
    assert door.metric("streams_cut_total", tier="fast", replica=served) == 1
    assert door.metric("requests_total", tier="fast", code="200", outcome="cut") == 1
    assert door.metric("replica_healthy", tier="fast", replica=served) == 1


async def test_a_stream_that_ends_without_done_is_cut(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A proper end of the HTTP message is not a proper end of the stream."""

    async def script(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED + wire.chunk(wire.event("a")) + b"0\r\n\r\n")

    door = await router(await upstream("fast-0", script))
    got = await door.ask(wire.CHAT)
    assert "upstream_lost" in got.events[1]
    assert door.metric("streams_cut_total", tier="fast", replica="fast-0") == 1


async def test_a_connection_lost_after_done_costs_nothing(
    router: Start, upstream: Start, wire: Any
) -> None:
    """Once [DONE] was seen the stream is complete, however the connection ends."""

    async def script(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED, wire.chunk(wire.event("a") + wire.DONE))
        exchange.die()

    door = await router(await upstream("fast-0", script))
    got = await door.ask(wire.CHAT)
    assert got.body == wire.event("a") + wire.DONE
    assert got.whole
    assert door.metric("requests_total", tier="fast", code="200", outcome="ok") == 1


async def test_a_stream_that_stalls_is_ended(router: Start, upstream: Start, wire: Any) -> None:
    """A silence longer than the idle gap ends the stream with its own error type."""

    async def script(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED, wire.chunk(wire.event("a")))

    replica = await upstream("fast-0", script)
    door = await router(replica, idle_timeout_s=0.1)
    got = await door.ask(wire.CHAT)
    assert json.loads(got.events[1])["error"]["type"] == "upstream_stalled"
    assert got.events[2] == "[DONE]"
    assert door.metric("streams_cut_total", tier="fast", replica="fast-0") == 1
    await wire.eventually(replica.exchanges[0].gone.is_set, "the stalled connection to be closed")


async def test_an_error_event_of_the_engine_counts_as_a_cut(
    router: Start, upstream: Start, wire: Any
) -> None:
    """An engine that dies mid-stream says so inside a 200: passed on, and counted."""
    error = b'data: {"error":{"message":"x","type":"InternalServerError","param":null,"code":500}}'

    async def script(exchange: Any) -> None:
        parts = [wire.event("a"), error + b"\n\n", wire.DONE]
        await exchange.send(wire.HEAD + wire.CHUNKED, *map(wire.chunk, parts), b"0\r\n\r\n")

    door = await router(await upstream("fast-0", script))
    got = await door.ask(wire.CHAT)
    assert got.body == wire.event("a") + error + b"\n\n" + wire.DONE
    assert door.metric("requests_total", tier="fast", code="200", outcome="cut") == 1


@pytest.mark.parametrize("after_first", [False, True], ids=["waiting", "streaming"])
async def test_a_client_that_leaves_frees_the_engine(
    router: Start, upstream: Start, wire: Any, *, after_first: bool
) -> None:
    """A disconnect closes the connection to the replica at once, and is no retry."""

    async def script(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED)
        if after_first:
            await exchange.send(wire.chunk(wire.event("a")))

    replica = await upstream("fast-0", script)
    door = await router(replica)
    client = await door.open(wire.CHAT)
    await wire.eventually(lambda: replica.exchanges, "the request to arrive")
    if after_first:
        await client.head()
        await client.part()
    client.leave()
    await wire.eventually(replica.exchanges[0].gone.is_set, "the upstream connection to close")
    code = "200" if after_first else "499"
    labels = {"tier": "fast", "code": code, "outcome": "client_gone"}
    await wire.eventually(lambda: door.metric("requests_total", **labels) == 1, "the count")
    assert len(replica.exchanges) == 1
    assert door.metric("inflight", tier="fast", replica="fast-0") == 0


async def test_a_slow_client_holds_back_the_engine(
    router: Start, upstream: Start, wire: Any
) -> None:
    """What a client does not read is not piled up without bound; nothing of it is lost."""
    big = wire.event("x" * 65536)
    written = 0

    async def script(exchange: Any) -> None:
        nonlocal written
        await exchange.send(wire.HEAD + wire.CHUNKED)
        for _ in range(400):
            await exchange.send(wire.chunk(big))
            written += 1
        await exchange.send(wire.chunk(wire.DONE) + b"0\r\n\r\n")

    door = await router(await upstream("fast-0", script))
    client = await door.open(wire.CHAT)
    await client.head()
    seen = -1
    while seen < written:  # until the replica makes no more progress
        seen = written
        await asyncio.sleep(0.2)
    assert written < 400
    async with asyncio.timeout(10):
        got = await client.finish()
    assert got.body == big * 400 + wire.DONE


async def test_connections_are_reused(router: Start, upstream: Start, wire: Any) -> None:
    """Requests one after the other share one connection to the replica."""
    replica = await upstream("fast-0")
    door = await router(replica)
    for _ in range(5):
        assert (await door.ask(wire.CHAT)).whole
    assert len(replica.exchanges) == 5
    assert len({id(exchange.writer) for exchange in replica.exchanges}) == 1
