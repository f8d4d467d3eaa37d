"""Retries: everything before the first byte can be repaired, nothing after it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Start = Callable[..., Awaitable[Any]]


async def test_a_replica_that_dies_after_its_head_is_replaced(
    router: Start, upstream: Start, wire: Any
) -> None:
    """The early 200 of vLLM commits us to nothing: the client only ever sees the second replica."""

    async def dies(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED)
        await asyncio.sleep(0.02)
        exchange.die()

    bad, good = await upstream("fast-0", dies), await upstream("fast-1")
    door = await router(bad, good)
    for _ in range(2):  # whichever comes first, the bad one is met at most once
        got = await door.ask(wire.CHAT)
        assert got.body == wire.event("a") + wire.event("b") + wire.DONE
        assert got.headers["x-served-by"] == "fast-1"
    assert len(bad.exchanges) == 1
    assert door.metric("retries_total", tier="fast", reason="lost") == 1
    assert door.metric("replica_healthy", tier="fast", replica="fast-0") == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_killing_a_replica_loses_no_waiting_request(
    router: Start, upstream: Start, wire: Any, *, stream: bool
) -> None:
    """Requests that wait for their first token move to another replica when theirs dies."""

    async def waits(exchange: Any) -> None:
        if stream:
            await exchange.send(wire.HEAD + wire.CHUNKED)

    async def answers(exchange: Any) -> None:
        if stream:
            await wire.streams_two(exchange)
        else:
            await exchange.send(wire.reply(200, {"ok": True}))

    bad, good = await upstream("fast-0", waits), await upstream("fast-1", answers)
    door = await router(bad)
    asked = [asyncio.create_task(door.ask(wire.CHAT | {"stream": stream})) for _ in range(20)]
    await wire.eventually(lambda: len(bad.exchanges) == 20, "all requests to wait")
    door.announce(bad, good)
    await wire.eventually(lambda: "fast-1" in {r.name for r in door.app.fleet}, "the second")
    await bad.stop()
    replies = await asyncio.gather(*asked)
    assert [got.status for got in replies] == [200] * 20
    assert all(got.whole and "upstream_lost" not in str(got.body) for got in replies)
    assert {got.headers["x-router-retries"] for got in replies} == {"1"}


async def test_a_refused_connection_is_tried_elsewhere(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A dead replica costs the client nothing but a header."""
    dead, good = await upstream("fast-0"), await upstream("fast-1")
    await dead.stop()
    door = await router(dead, good)
    replies = [await door.ask(wire.CHAT) for _ in range(4)]
    assert [got.headers["x-served-by"] for got in replies] == ["fast-1"] * 4
    assert door.metric("retries_total", tier="fast", reason="connect") == 1


@pytest.mark.parametrize("status", [500, 503])
async def test_a_busy_or_broken_replica_is_left_for_another(
    router: Start, upstream: Start, wire: Any, status: int
) -> None:
    """500 and 503 are retried, and do not eject: one bad request must not empty a tier."""

    async def refuses(exchange: Any) -> None:
        await exchange.send(wire.reply(status, {"error": {"code": status}}))

    bad, good = await upstream("fast-0", refuses), await upstream("fast-1")
    door = await router(bad, good)
    replies = [await door.ask(wire.CHAT) for _ in range(2)]
    assert [got.status for got in replies] == [200, 200]
    assert door.metric("retries_total", tier="fast", reason=f"status_{status}") == 1
    assert len(bad.exchanges) == 1  # failing fast must not make it the least loaded
    assert door.metric("replica_healthy", tier="fast", replica="fast-0") == 1


async def test_an_engine_that_dies_before_the_first_token_is_replaced(
    router: Start, upstream: Start, wire: Any
) -> None:
    """An error as the first event of a 200 is a failure before the first byte too."""
    error = b'data: {"error": {"message": "x", "type": "y", "param": null, "code": 500}}\n\n'

    async def dies(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED, wire.chunk(error + wire.DONE), b"0\r\n\r\n")

    bad, good = await upstream("fast-0", dies), await upstream("fast-1")
    door = await router(bad, good)
    replies = [await door.ask(wire.CHAT) for _ in range(2)]
    assert {got.headers["x-served-by"] for got in replies} == {"fast-1"}
    alone = await router(bad, retries=1)
    got = await alone.ask(wire.CHAT)
    assert got.body == error + wire.DONE
    assert len(bad.exchanges) == 3


async def test_retries_are_bounded_and_the_last_reply_is_passed_on(
    router: Start, upstream: Start, wire: Any
) -> None:
    """When every attempt got a 503, the client gets the engine's own words."""

    async def refuses(exchange: Any) -> None:
        await exchange.send(wire.reply(503, {"error": {"message": "busy", "code": 503}}))

    replica = await upstream("fast-0", refuses)
    door = await router(replica, retries=2)
    got = await door.ask(wire.CHAT)
    assert (got.status, got.json) == (503, {"error": {"message": "busy", "code": 503}})
    assert got.headers["x-router-retries"] == "2"
    assert len(replica.exchanges) == 3
    assert door.metric("requests_total", tier="fast", code="503", outcome="upstream_error") == 1


async def test_losing_every_attempt_is_502(router: Start, upstream: Start, wire: Any) -> None:
    """When the attempts are used up on lost connections, the client gets an error object."""

    async def dies(exchange: Any) -> None:
        exchange.die()

    replicas = [await upstream(f"fast-{n}", dies) for n in range(3)]
    door = await router(*replicas, retries=2)
    got = await door.ask(wire.CHAT)
    assert (got.status, got.json["error"]["type"]) == (502, "upstream_lost")
    assert sum(len(replica.exchanges) for replica in replicas) == 3


async def test_client_errors_pass_straight_through(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A 4xx is the client's own: same status, same body, no second attempt."""
    body = {"error": {"message": "too long", "type": "BadRequestError", "code": 400}}

    async def refuses(exchange: Any) -> None:
        await exchange.send(wire.reply(400, body, "x-engine: yes\r\n"))

    replica = await upstream("fast-0", refuses)
    door = await router(replica)
    got = await door.ask(wire.CHAT)
    assert (got.status, got.json, got.headers["x-engine"]) == (400, body, "yes")
    assert len(replica.exchanges) == 1
    assert door.metric("requests_total", tier="fast", code="400", outcome="client_error") == 1


async def test_no_replica_is_503_after_a_bounded_wait(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A tier without a ready replica answers in the OpenAI shape and says when to come back."""
    replica = await upstream("fast-0")
    door = await router(no_replica_wait_s=0.05)
    door.announce(replica, ready=False)
    await wire.eventually(lambda: door.app.fleet.tiers, "the file to be read")
    got = await door.ask(wire.CHAT)
    assert got.status == 503
    assert got.headers["retry-after"] == "1"
    assert set(got.json["error"]) == {"message", "type", "param", "code"}
    assert door.metric("requests_total", tier="fast", code="503", outcome="no_replica") == 1


async def test_a_request_waits_for_a_replica_to_become_ready(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A replica that comes within the wait serves the request that was waiting for it."""
    replica = await upstream("fast-0")
    door = await router(tiers=("fast",), no_replica_wait_s=5.0)
    asked = asyncio.create_task(door.ask(wire.CHAT))
    await asyncio.sleep(0.02)
    assert not asked.done()
    door.announce(replica)
    assert (await asked).status == 200


async def test_a_silent_replica_is_504_and_not_retried(
    router: Start, upstream: Start, wire: Any
) -> None:
    """Who waited a whole first-byte timeout is not made to wait for another."""

    async def silent(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED)

    replica = await upstream("fast-0", silent)
    door = await router(replica, first_byte_timeout_s=0.05)
    got = await door.ask(wire.CHAT)
    assert (got.status, got.json["error"]["type"]) == (504, "upstream_timeout")
    await wire.eventually(replica.exchanges[0].gone.is_set, "the connection to be closed")
    assert len(replica.exchanges) == 1


async def test_a_stale_connection_is_no_failure_of_the_replica(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A kept-alive connection that closes under a new request is replaced without a retry."""
    seen = 0

    async def closes_second(exchange: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            exchange.die()
        else:
            await wire.streams_two(exchange)

    replica = await upstream("fast-0", closes_second)
    door = await router(replica, retries=0)
    for _ in range(2):
        got = await door.ask(wire.CHAT)
        assert (got.status, got.headers["x-router-retries"]) == (200, "0")
    assert door.metric("retries_total", tier="fast", reason="stale_connection") == 1
    assert door.metric("replica_healthy", tier="fast", replica="fast-0") == 1


async def test_a_whole_reply_lost_half_way_is_tried_again(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A reply that is not streamed is sent only when it is complete, so its loss is repaired."""

    async def half(exchange: Any) -> None:
        whole = wire.reply(200, {"text": "x" * 100})
        await exchange.send(whole[:-20])
        await asyncio.sleep(0.02)
        exchange.die()

    async def good(exchange: Any) -> None:
        await exchange.send(wire.reply(200, {"text": "good"}))

    door = await router(await upstream("fast-0", half), await upstream("fast-1", good))
    replies = [await door.ask(wire.CHAT | {"stream": False}) for _ in range(2)]
    assert [got.json for got in replies] == [{"text": "good"}] * 2
