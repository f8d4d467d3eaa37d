"""Which replicas exist and which of them may serve: the endpoints file, health, ejection."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inference_platform.router.endpoints import Endpoint
from inference_platform.router.fleet import Replica
from inference_platform.router.metrics import RETRY_REASONS
from inference_platform.router.settings import Settings

Start = Callable[..., Awaitable[Any]]


def names(door: Any) -> set[str]:
    """The replicas a router knows."""
    return {replica.name for replica in door.app.fleet}


async def test_the_endpoints_file_is_followed(router: Start, upstream: Start, wire: Any) -> None:
    """Replicas come and go with the file, without a restart; a tier once known stays known."""
    first, second = await upstream("fast-0"), await upstream("fast-1")
    door = await router()
    assert (await door.ask(wire.CHAT)).status == 404
    door.announce(first)
    await wire.eventually(lambda: names(door) == {"fast-0"}, "the first")
    assert (await door.ask(wire.CHAT)).headers["x-served-by"] == "fast-0"
    door.announce(second)
    await wire.eventually(lambda: names(door) == {"fast-1"}, "the second")
    assert (await door.ask(wire.CHAT)).headers["x-served-by"] == "fast-1"
    assert door.metric("inflight", tier="fast", replica="fast-0") is None
    door.announce()
    await wire.eventually(lambda: names(door) == set(), "none")
    health = await door.get("/health")
    assert (health.status, health.json["tiers"]) == (503, ["fast"])


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"endpoints": [{"name": "a"}]}',
        '{"endpoints": [{"name":"a","uid":"1","tier":"t","url":"ftp://x","ready":true}]}',
        '{"endpoints": [{"name":"a","uid":"1","tier":"t","url":"http://x:99999","ready":true}]}',
    ],
)
async def test_a_malformed_file_keeps_the_replicas(
    router: Start, upstream: Start, wire: Any, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """A bad version of the file is said once and changes nothing."""
    door = await router(await upstream("fast-0"))
    door.write(text)
    said = lambda: [r for r in caplog.records if "keeping the replicas" in r.message]  # noqa: E731
    await wire.eventually(said, "the log line")
    assert (await door.ask(wire.CHAT)).status == 200
    assert len(said()) == 1
    assert "\n" not in said()[0].message


async def test_the_same_name_twice_is_malformed(
    router: Start, upstream: Start, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Two replicas of one name cannot be told apart."""
    door = await router(await upstream("fast-0"))
    one = {"name": "x", "uid": "1", "tier": "t", "url": "http://127.0.0.1:1", "ready": True}
    door.write(json.dumps({"endpoints": [one, one]}))
    await wire.eventually(lambda: "more than once" in caplog.text, "the log line")
    assert names(door) == {"fast-0"}


async def test_a_new_uid_is_a_new_replica(router: Start, upstream: Start, wire: Any) -> None:
    """Old connections are dropped and old sins forgotten, though name and address stay."""
    replica = await upstream("fast-0")
    door = await router(replica)
    await door.ask(wire.CHAT)
    known = next(iter(door.app.fleet))
    known.healthy = False
    door.announce(replica, uid="another")
    await wire.eventually(lambda: next(iter(door.app.fleet)) is not known, "the new one")
    await wire.eventually(replica.exchanges[0].gone.is_set, "the old connection to be closed")
    assert (await door.ask(wire.CHAT)).status == 200


async def test_a_replica_that_leaves_the_file_finishes_its_streams(
    router: Start, upstream: Start, wire: Any
) -> None:
    """Leaving the file is the first step of a graceful stop: streams under way run to their end."""

    async def script(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED, wire.chunk(wire.event("a")))
        await wire.eventually(lambda: names(door) == {"fast-1"}, "the file to be read")
        await exchange.send(wire.chunk(wire.DONE) + b"0\r\n\r\n")

    first, second = await upstream("fast-0", script), await upstream("fast-1")
    door = await router(first)
    client = await door.open(wire.CHAT)
    await client.head()
    door.announce(second)
    got = await client.finish()
    assert got.body == wire.event("a") + wire.DONE
    await wire.eventually(first.exchanges[0].gone.is_set, "its connection to be closed")


async def test_health_checks_take_a_replica_out_and_back(
    router: Start, upstream: Start, wire: Any
) -> None:
    """Two failed checks make it unhealthy, one good one healthy; /health says which tier."""
    replica = await upstream("fast-0")
    door = await router(replica, health_period_s=0.02, no_replica_wait_s=0.01)
    assert (await door.get("/health")).json == {"status": "ok"}
    replica.healthy = False
    usable = lambda: door.metric("replica_healthy", tier="fast", replica="fast-0")  # noqa: E731
    await wire.eventually(lambda: usable() == 0, "the replica to be unhealthy")
    assert (await door.ask(wire.CHAT)).status == 503
    got = await door.get("/health")
    assert (got.status, got.json) == (503, {"status": "unavailable", "tiers": ["fast"]})
    replica.healthy = True
    await wire.eventually(lambda: usable() == 1, "the replica to be healthy")
    assert (await door.ask(wire.CHAT)).status == 200


async def test_requests_waiting_at_an_unhealthy_replica_move(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A replica that hangs keeps no request that it has not begun to answer."""

    async def hangs(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED)
        if "begin" in exchange.body:
            await exchange.send(wire.chunk(wire.event("a")))

    stuck = await upstream("fast-0", hangs)
    door = await router(stuck, health_period_s=0.02)
    begun = await door.open(wire.CHAT | {"begin": True})
    await begun.head()
    waiting = asyncio.create_task(door.ask(wire.CHAT))
    await wire.eventually(lambda: len(stuck.exchanges) == 2, "both to arrive")
    stuck.healthy = False
    known = next(iter(door.app.fleet))
    await wire.eventually(lambda: not known.healthy, "the replica to be unhealthy")
    assert not waiting.done()  # there is nowhere else to go
    stuck.healthy = True
    await wire.eventually(lambda: known.healthy, "the replica to be healthy")
    door.announce(stuck, await upstream("fast-1"))
    await wire.eventually(lambda: len(names(door)) == 2, "the second replica")
    stuck.healthy = False
    got = await waiting
    assert (got.status, got.headers["x-served-by"]) == (200, "fast-1")
    assert door.metric("retries_total", tier="fast", reason="unhealthy") == 1
    assert not stuck.exchanges[0].gone.is_set()  # what has begun is left to its own end
    begun.leave()


async def test_a_dead_replica_is_found_without_traffic(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A replica that refuses connections fails its checks."""
    replica = await upstream("fast-0")
    door = await router(replica, health_period_s=0.02)
    await replica.stop()
    known = next(iter(door.app.fleet))
    await wire.eventually(lambda: not known.healthy, "the replica to be unhealthy")
    await replica.start()
    await wire.eventually(lambda: known.healthy, "the replica to be healthy")


async def test_ejection_grows_once_per_failure_and_shrinks_on_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1, 2, 4, 8, 10 s; failures during a pause do not count; a first byte starts over."""
    now_s = 100.0
    monkeypatch.setattr("inference_platform.router.fleet.time.monotonic", lambda: now_s)
    entry = {"name": "a", "uid": "1", "tier": "t", "url": "http://127.0.0.1:1", "ready": True}
    replica = Replica(Endpoint.model_validate(entry), Settings(endpoints_path="unused"))
    pauses = []
    for _ in range(6):
        pauses.append(replica.eject())
        assert not replica.usable
        assert replica.eject() is None
        now_s = replica.ejected_until_s
        assert replica.usable
    assert pauses == [1, 2, 4, 8, 10, 10]
    replica.served()
    assert replica.eject() == 1


async def test_an_ejected_replica_comes_back_by_itself(
    router: Start, upstream: Start, wire: Any
) -> None:
    """A pause ends without anybody asking, and wakes the request that waits for it."""
    fail = True

    async def script(exchange: Any) -> None:
        if fail:
            exchange.die()
        else:
            await wire.streams_two(exchange)

    replica = await upstream("fast-0", script)
    door = await router(replica, retries=0, eject_s_min=0.1, no_replica_wait_s=5.0)
    assert (await door.ask(wire.CHAT)).status == 502
    assert (await door.get("/health")).status == 503
    fail = False
    assert (await door.ask(wire.CHAT)).status == 200


async def test_every_series_is_there_before_the_first_request(
    router: Start, upstream: Start, wire: Any
) -> None:
    """The first failure is then a rise from 0; and nothing collides with the engine's names."""
    door = await router(await upstream("fast-0"), tiers=("reasoning",))
    text = (await door.get("/metrics")).body.decode()
    assert "vllm:" not in text
    for tier in ("fast", "reasoning"):
        for reason in RETRY_REASONS:
            assert door.metric("retries_total", tier=tier, reason=reason) == 0
        assert door.metric("requests_total", tier=tier, code="200", outcome="cut") == 0
        assert door.metric("ttft_seconds_bucket", tier=tier, le="0.25") == 0
        assert door.metric("e2e_seconds_bucket", tier=tier, le="0.3") == 0
    assert door.metric("streams_cut_total", tier="fast", replica="fast-0") == 0
    for result in ("hit", "miss", "moved", "unavailable"):
        assert door.metric("affinity_total", result=result) == 0
    assert 'inference_router_info{name="router-0"} 1.0' in text


async def test_the_hot_routes_are_in_the_documents(router: Start) -> None:
    """Mounted below FastAPI, yet in its OpenAPI document; other methods are refused."""
    door = await router()
    paths = (await door.get("/openapi.json")).json["paths"]
    assert set(paths) >= {"/v1/chat/completions", "/v1/completions", "/v1/models", "/health"}
    assert (await door.get("/v1/chat/completions")).status == 405
