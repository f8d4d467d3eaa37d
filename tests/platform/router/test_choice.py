"""Which tier and which replica a request goes to."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from inference_platform.router.affinity import AffinityUnavailable, RedisAffinity
from inference_platform.router.tiering import HeuristicChooser, needs_reasoning

Start = Callable[..., Awaitable[Any]]


class ScriptedRedis:
    """A Redis of four commands: enough of RESP to answer the real client; can fall silent."""

    def __init__(self) -> None:
        """Start empty."""
        self.keys: dict[str, str] = {}
        self.ttl_s: dict[str, str] = {}
        self.silent = False
        self.url = ""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                count = int((await reader.readuntil(b"\r\n"))[1:])
                words = []
                for _ in range(count):
                    size = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(size + 2))[:-2].decode())
                if not self.silent:
                    writer.write(self._answer(words))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _answer(self, words: list[str]) -> bytes:
        match words:
            case ["HELLO", *_]:
                return b"%1\r\n+proto\r\n:3\r\n"
            case ["GETEX", key, "EX", ttl]:
                if key not in self.keys:
                    return b"_\r\n"
                self.ttl_s[key] = ttl
                return b"+%b\r\n" % self.keys[key].encode()
            case ["SET", key, value, "EX", ttl]:
                self.keys[key], self.ttl_s[key] = value, ttl
        return b"+OK\r\n"


@pytest.fixture
async def redis() -> AsyncIterator[ScriptedRedis]:
    """A Redis that ends with the test."""
    one = ScriptedRedis()
    await one.start()
    yield one
    await one.stop()


def in_session(name: str) -> dict[str, str]:
    """The header of a session."""
    return {"x-session-id": name}


async def test_the_model_name_chooses_the_tier(router: Start, upstream: Start, wire: Any) -> None:
    """`chat-<tier>` goes to its tier; an engine's own model name is valid too, and is sent on."""
    fast, deep = await upstream("fast-0"), await upstream("deep-0")
    door = await router()
    endpoints = [
        {"name": "fast-0", "uid": "1", "tier": "fast", "url": fast.url, "ready": True},
        {"name": "deep-0", "uid": "2", "tier": "reasoning", "url": deep.url, "ready": True}
        | {"model": "org/Big-70B"},
    ]
    door.write(json.dumps({"endpoints": endpoints}))
    await wire.eventually(lambda: door.app.fleet.tiers, "the file to be read")
    for model in ("chat-fast", "chat-reasoning", "org/Big-70B"):
        assert (await door.ask(wire.CHAT | {"model": model})).status == 200
    assert [exchange.body["model"] for exchange in fast.exchanges] == ["chat-fast"]
    assert [exchange.body["model"] for exchange in deep.exchanges] == ["org/Big-70B"] * 2
    listed = (await door.get("/v1/models")).json["data"]
    assert {m["id"] for m in listed} == {"chat-fast", "chat-reasoning", "org/Big-70B", "auto"}


async def test_auto_chooses_by_the_prompt(router: Start, upstream: Start, wire: Any) -> None:
    """`auto`, like no model at all, is decided here; the engine sees its own model's name."""
    fast, deep = await upstream("fast-0"), await upstream("deep-0")
    door = await router()
    endpoints = [
        {"name": u.name, "uid": u.name, "tier": tier, "url": u.url, "ready": True}
        for u, tier in ((fast, "fast"), (deep, "reasoning"))
    ]
    door.write(json.dumps({"endpoints": endpoints}))
    await wire.eventually(lambda: door.app.fleet.tiers, "the file to be read")
    await door.ask(wire.CHAT | {"model": "auto"})
    await door.ask({"stream": True, "prompt": "Prove it."}, path="/v1/completions")
    assert [(e.path, e.body["model"]) for e in fast.exchanges] == [
        ("/v1/chat/completions", "chat-fast")
    ]
    assert [(e.path, e.body["model"]) for e in deep.exchanges] == [
        ("/v1/completions", "chat-reasoning")
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": [{"role": "user", "content": "What is the capital of Peru?"}]}, False),
        ({"messages": [{"role": "user", "content": "Explain step by step."}]}, True),
        ({"messages": [{"content": [{"type": "text", "text": "why is it so?"}]}]}, True),
        ({"prompt": "word " * 400}, True),
        ({"prompt": list(range(100))}, False),
        ({"prompt": list(range(400))}, True),
        ({"prompt": "hi", "reasoning_effort": "high"}, True),
        ({"prompt": "prove it", "reasoning_effort": "low"}, False),
        ({"messages": None, "prompt": 7}, False),
        ({}, False),
    ],
)
def test_what_counts_as_reasoning(body: dict[str, Any], *, expected: bool) -> None:
    """Length, cues and an asked-for effort decide; odd bodies never raise."""
    assert needs_reasoning(body) is expected


def test_a_tier_that_is_not_there_is_never_chosen() -> None:
    """With one tier, `auto` means that one."""
    assert HeuristicChooser().choose({"prompt": "prove it"}, ["fast"]) == "fast"


async def test_an_unknown_model_is_404_in_the_shape_of_vllm(
    router: Start, upstream: Start, wire: Any
) -> None:
    """The error names the model and those there are; no replica is bothered."""
    replica = await upstream("fast-0")
    door = await router(replica)
    for model in ("nope", ["chat-fast"]):
        got = await door.ask(wire.CHAT | {"model": model})
        assert got.status == 404
        assert got.json["error"]["type"] == "NotFoundError"
        assert (got.json["error"]["param"], got.json["error"]["code"]) == ("model", 404)
        assert got.json["error"]["message"].endswith("Valid aliases: chat-fast, auto.")
    assert replica.exchanges == []
    assert door.metric("requests_total", tier="none", code="404", outcome="client_error") == 2


@pytest.mark.parametrize("raw", [b"{", b"[1]", b"", b"\xff"])
async def test_a_body_that_is_no_object_is_400(
    router: Start, upstream: Start, wire: Any, raw: bytes
) -> None:
    """A request that cannot be understood is refused here, in one line."""
    door = await router(await upstream("fast-0"))
    got = await door.ask(raw)
    assert (got.status, got.json["error"]["type"]) == (400, "Bad Request")


async def test_a_body_over_the_limit_is_413(router: Start, upstream: Start, wire: Any) -> None:
    """Memory for one request is bounded."""
    door = await router(await upstream("fast-0"), body_bytes_max=1000)
    got = await door.ask(wire.CHAT | {"x": "y" * 2000})
    assert got.status == 413


async def test_a_body_that_does_not_come_is_408(router: Start, upstream: Start) -> None:
    """A client that sends a head and then nothing is not waited for until it leaves."""
    replica = await upstream("fast-0")
    door = await router(replica, body_timeout_s=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: r\r\ncontent-length: 9\r\n\r\n{")
    async with asyncio.timeout(5):
        assert b" 408 " in await reader.readline()
    writer.transport.abort()
    assert replica.exchanges == []


async def test_the_request_reaches_the_engine_unchanged(
    router: Start, upstream: Start, wire: Any
) -> None:
    """End-to-end headers and the query go on; those of one connection stay behind."""
    replica = await upstream("fast-0")
    door = await router(replica)
    sent = {"authorization": "Bearer k", "x-request-id": "r1", "te": "trailers"}
    await door.ask(wire.CHAT, path="/v1/chat/completions?a=1", headers=sent)
    got = replica.exchanges[0]
    assert (got.path, got.body) == ("/v1/chat/completions?a=1", wire.CHAT)
    assert got.headers["host"] == f"127.0.0.1:{replica.port}"
    assert got.headers["authorization"] == "Bearer k"
    assert got.headers["x-request-id"] == "r1"
    assert "te" not in got.headers


async def test_load_is_spread_evenly(router: Start, upstream: Start, wire: Any) -> None:
    """Idle replicas take turns; busy ones get no more than the others."""
    go_on = asyncio.Event()

    async def waits(exchange: Any) -> None:
        await go_on.wait()
        await wire.streams_two(exchange)

    replicas = [await upstream(f"fast-{n}", waits) for n in range(3)]
    door = await router(*replicas)
    asked = [asyncio.create_task(door.ask(wire.CHAT)) for _ in range(9)]
    await wire.eventually(lambda: sum(len(r.exchanges) for r in replicas) == 9, "all to arrive")
    assert [len(replica.exchanges) for replica in replicas] == [3, 3, 3]
    assert door.metric("inflight", tier="fast", replica="fast-0") == 3
    go_on.set()
    await asyncio.gather(*asked)
    for _ in range(6):
        await door.ask(wire.CHAT)
    assert [len(replica.exchanges) for replica in replicas] == [5, 5, 5]


async def test_a_session_stays_on_its_replica(
    router: Start, upstream: Start, wire: Any, redis: ScriptedRedis
) -> None:
    """The first request chooses, the next ones follow, through Redis and so through any router."""
    replicas = [await upstream(f"fast-{n}") for n in range(3)]
    door = await router(*replicas, redis_url=redis.url, affinity_lookup_timeout_s=2.0)
    other = await router(*replicas, redis_url=redis.url, affinity_lookup_timeout_s=2.0)
    first = await door.ask(wire.CHAT, headers=in_session("s1"))
    await wire.eventually(lambda: redis.keys, "the session to be stored")
    served = [first.headers["x-served-by"]]
    for one in (door, door, other, other):
        got = await one.ask(wire.CHAT, headers=in_session("s1"))
        served.append(got.headers["x-served-by"])
    assert len(set(served)) == 1
    assert list(redis.keys.values()) == [f"u-{served[0]}"]
    assert list(redis.ttl_s.values()) == ["600"]
    assert door.metric("affinity_total", result="miss") == 1
    assert door.metric("affinity_total", result="hit") == 2
    assert other.metric("affinity_total", result="hit") == 2


async def test_a_session_leaves_a_replica_that_is_busy_or_gone(
    router: Start, upstream: Start, wire: Any, redis: ScriptedRedis
) -> None:
    """Affinity yields to load beyond its slack, and to a replica that cannot serve."""
    go_on = asyncio.Event()

    async def waits(exchange: Any) -> None:
        if "wait" in exchange.body:
            await go_on.wait()
        await wire.streams_two(exchange)

    replicas = [await upstream(f"fast-{n}", waits) for n in range(2)]
    settings = {"affinity_slack": 1, "affinity_lookup_timeout_s": 2.0}
    door = await router(*replicas, redis_url=redis.url, **settings)
    first = await door.ask(wire.CHAT, headers=in_session("s1"))
    await wire.eventually(lambda: redis.keys, "the session to be stored")
    home = first.headers["x-served-by"]
    held = []
    for n in range(2):
        body = wire.CHAT | {"wait": True}
        held.append(asyncio.create_task(door.ask(body, headers=in_session("s1"))))
        at_home = next(u for u in replicas if u.name == home)
        await wire.eventually(lambda n=n, u=at_home: len(u.exchanges) == 2 + n, "it to arrive")
    moved = await door.ask(wire.CHAT, headers=in_session("s1"))
    assert moved.headers["x-served-by"] != home
    assert door.metric("affinity_total", result="moved") == 1
    go_on.set()
    await asyncio.gather(*held)
    key = next(iter(redis.keys))
    await wire.eventually(lambda: redis.keys[key] != f"u-{home}", "the move to be stored")


async def test_redis_being_down_is_never_an_error(
    router: Start, upstream: Start, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Without Redis sessions are served like any request: counted, and logged once."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{unused.getsockname()[1]}/0"
        door = await router(await upstream("fast-0"), redis_url=url)
        for _ in range(3):
            assert (await door.ask(wire.CHAT, headers=in_session("s1"))).status == 200
    assert door.metric("affinity_total", result="unavailable") == 3
    assert len([r for r in caplog.records if "affinity is off" in r.message]) == 1


async def test_a_connection_that_was_closed_just_now_is_redis_being_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Uvloop says so with a RuntimeError of its own, and no request may fail of it."""

    async def closed(*_: Any, **__: Any) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    monkeypatch.setattr(Redis, "execute_command", closed)
    store = RedisAffinity("redis://127.0.0.1:1/0", ttl_s=60, timeout_s=1.0)

    with pytest.raises(AffinityUnavailable):
        await store.lookup("fast", "s1")

    await store.close()


async def test_a_slow_redis_costs_one_bounded_wait(
    router: Start, upstream: Start, wire: Any, redis: ScriptedRedis
) -> None:
    """A Redis that does not answer is asked once in a while, not by every request."""
    redis.silent = True
    door = await router(await upstream("fast-0"), redis_url=redis.url)
    for _ in range(3):
        assert (await door.ask(wire.CHAT, headers=in_session("s1"))).status == 200
    assert door.metric("affinity_total", result="unavailable") == 3
