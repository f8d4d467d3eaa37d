"""The scaler against a Prometheus on loopback that can be told to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from inference_platform.local.autoscaling import prometheus
from inference_platform.local.autoscaling.decision import ReadingError, Scale
from inference_platform.local.autoscaling.scaler import Scaler
from inference_platform.local.autoscaling.spec import Metadata, ScaledObject

WAIT_S_MAX = 5.0
# A second of the file takes 2 ms: the HPA syncs every 30 ms.
TIME_SCALE = 0.002


def vector(*values: object) -> bytes:
    """Return a successful answer of /api/v1/query with these elements."""
    result = [{"metric": {}, "value": [1.0, str(value)]} for value in values]
    body = {"status": "success", "data": {"resultType": "vector", "result": result}}
    return json.dumps(body).encode()


@dataclass
class Prometheus:
    """Answers instant queries with what it was told, by query."""

    answers: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    address: tuple[str, int] = ("", 0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            url = urlsplit(head.split()[1])
            assert url.path == "/api/v1/query"
            query = parse_qs(url.query)["query"][0]
            self.asked.append(query)
            if self.silent:
                await reader.read()  # until the other side gives up
            else:
                writer.write(f"HTTP/1.0 {self.status} word\r\n\r\n".encode() + self.answers[query])
                await writer.drain()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Prometheus]:
    """A Prometheus on a free port."""
    told = Prometheus()
    listening = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    told.address = listening.sockets[0].getsockname()
    yield told
    listening.close()


def asked(query: str, *, ignore: bool = False) -> Metadata:
    """Return a trigger's metadata."""
    return Metadata(query=query, threshold="1", ignoreNullValues="true" if ignore else "false")


@pytest.mark.parametrize(
    ("body", "reading", "ignored"),
    [
        # prometheus_scaler_test.go of KEDA; the last column is with nulls ignored.
        (vector(2), 2.0, 2.0),
        (vector(), "result is empty", 0.0),
        (vector("NaN"), "nan", 0.0),
        (vector("+Inf"), "inf", 0.0),
        (vector("-Inf"), "-inf", 0.0),
        (b'{"data":{"result":[{"value": []}]}}', "result is empty", 0.0),
        (vector(1, 2), "returned 2 elements, expected one", "returned 2 elements"),
        (b'{"data":{"result":[{"value": ["1"]}]}}', "sent no vector", "sent no vector"),
        (b'{"data":{"resultType":"scalar","result":[1,"2"]}}', "sent no vector", "sent no vector"),
        (vector("many"), "sent no vector", "sent no vector"),
        (b"<html>", "sent no vector", "sent no vector"),
    ],
)
def test_an_answer_is_one_number_or_an_error(
    body: bytes, reading: float | str, ignored: float | str
) -> None:
    """Never the first of several, and 0 for nothing only where the file says so."""
    for ignore, expected in ((False, reading), (True, ignored)):
        found = prometheus.value_in(body, ignore_null_values=ignore)
        if isinstance(expected, str):
            assert isinstance(found, ReadingError)
            assert expected in found.text
        else:
            assert found == expected


async def test_a_query_arrives_as_it_was_written(server: Prometheus) -> None:
    """Spaces, quotes, plus signs and braces survive the way."""
    query = 'sum(rate(a_total{tier="fast",outcome!="x"}[2m])) + 1 > bool 0'
    server.answers = {query: vector(3.5)}

    assert await prometheus.read(server.address, asked(query)) == 3.5
    assert server.asked == [query]


async def test_a_failed_read_is_tried_once_more(server: Prometheus) -> None:
    """As KEDA asks again with a new scaler; one that worked is not."""
    server.status = 503
    server.answers = {"q": b""}

    found = await prometheus.read(server.address, asked("q"))
    assert found == ReadingError("prometheus query api returned error. status: 503")
    assert server.asked == ["q", "q"]


async def test_a_silent_prometheus_is_given_up(server: Prometheus) -> None:
    """The wait has a bound, and the error says what it was."""
    server.silent = True

    found = await prometheus.read(server.address, asked("q", ignore=True), timeout_s=0.05)
    assert found == ReadingError("prometheus did not answer within 0.05 s")


async def test_no_prometheus_and_no_http_are_errors(server: Prometheus) -> None:
    """Nulls that are ignored do not hide them."""

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello")
        writer.close()

    other = await asyncio.start_server(rude, "127.0.0.1", 0)
    address = other.sockets[0].getsockname()
    answered = await prometheus.read(address, asked("q", ignore=True))
    other.close()
    await other.wait_closed()
    refused = await prometheus.read(address, asked("q", ignore=True))

    assert isinstance(answered, ReadingError)
    assert "no HTTP answer: found b'hello'" in answered.text
    assert isinstance(refused, ReadingError)
    assert "cannot be reached" in refused.text


async def test_an_endless_answer_is_cut_off(server: Prometheus) -> None:
    """One number does not take a megabyte."""
    server.answers = {"q": b" " * (prometheus.ANSWER_BYTES_MAX + 1)}

    found = await prometheus.read(server.address, asked("q"))
    assert isinstance(found, ReadingError)
    assert "more than 1048576 bytes" in found.text


def _scaled_object(tier: str = "fast", **changes: Any) -> ScaledObject:
    """Return an object with one trigger, whose query is its tier's name; 4 a replica."""
    down = {"stabilizationWindowSeconds": 0}
    metadata = {"query": tier, "threshold": "4", "ignoreNullValues": "false"}
    spec = {
        "name": tier,
        "scaleTargetRef": {"name": tier},
        "pollingInterval": 10,
        "minReplicaCount": 1,
        "maxReplicaCount": 6,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": down}}},
        "triggers": [{"type": "prometheus", "metadata": metadata}],
    }
    return ScaledObject.model_validate(spec | changes)


@dataclass
class World:
    """Tiers that do at once what they are told, and a book of what was said."""

    replicas: dict[str, int]
    orders: list[tuple[str, int, str]] = field(default_factory=list)
    notes: list[tuple[str, str, str]] = field(default_factory=list)

    def current(self, tier: str) -> Scale:
        """Say that all replicas are ready."""
        count = self.replicas[tier]
        return Scale(count, count, count)

    def set_replicas(self, tier: str, count: int, why: str) -> None:
        """Obey."""
        self.replicas[tier] = count
        self.orders.append((tier, count, why))

    def note(self, reason: str, obj: str, message: str) -> None:
        """Write down."""
        self.notes.append((reason, obj, message))

    def reasons(self) -> list[str]:
        """Return the reasons of all notes."""
        return [reason for reason, _, _ in self.notes]


@contextlib.asynccontextmanager
async def running(
    world: World, server: Prometheus, *scaled_objects: ScaledObject, timeout_s: float = 1.0
) -> AsyncIterator[Scaler]:
    """Run a scaler for as long as the block lasts; it must not have failed."""
    scaler = Scaler(
        scaled_objects,
        server.address,
        current=world.current,
        set_replicas=world.set_replicas,
        note=world.note,
        time_scale=TIME_SCALE,
        timeout_s=timeout_s,
    )
    task = asyncio.create_task(scaler.run())
    try:
        yield scaler
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(what: Callable[[], object]) -> None:
    """Wait for a condition, or fail with the last answer."""
    deadline = asyncio.get_running_loop().time() + WAIT_S_MAX
    while not (last := what()):
        assert asyncio.get_running_loop().time() < deadline, f"last seen: {last!r}"
        await asyncio.sleep(0.005)


async def test_load_grows_a_tier_and_calm_shrinks_it(server: Prometheus) -> None:
    """Every tier on its own numbers; orders and events say why."""
    world = World({"fast": 2, "reasoning": 1})
    server.answers = {"fast": vector(20), "reasoning": vector(4)}

    async with running(world, server, _scaled_object(), _scaled_object("reasoning")) as scaler:
        await until(lambda: world.replicas["fast"] == 5)
        server.answers["fast"] = vector(4)
        await until(lambda: world.replicas["fast"] == 1)
        status = {one.tier: one for one in scaler.status()}

    assert [(tier, count) for tier, count, _ in world.orders] == [("fast", 5), ("fast", 1)]
    assert world.orders[1][2] == "New size: 1; reason: All metrics below target"
    where = "horizontalpodautoscaler/keda-hpa-fast"
    assert [note[:2] for note in world.notes] == [("SuccessfulRescale", where)] * 2
    assert status["fast"].desired_replicas == 1
    assert status["reasoning"].desired_replicas == 1


async def test_the_loops_keep_their_own_time(
    server: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KEDA looks at its interval, the HPA every 15 s of the file, whatever the interval is."""
    world = World({"fast": 2})
    server.answers = {"fast": vector(8)}
    naps: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        naps.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", noted)
    async with running(world, server, _scaled_object(pollingInterval=40)):
        await until(lambda: {40 * TIME_SCALE, 15 * TIME_SCALE} <= set(naps))


async def test_two_elements_move_nothing(server: Prometheus) -> None:
    """A query that was not summed must not scale on the first replica's number."""
    world = World({"fast": 2})
    server.answers = {"fast": vector(100, 100)}

    async with running(world, server, _scaled_object()):
        await until(lambda: len(server.asked) > 12)

    assert not world.orders
    assert {"KEDAScalerFailed", "FailedGetExternalMetric"} <= set(world.reasons())
    assert len(world.notes) == 3  # each loop tells its own once


@pytest.mark.parametrize("how", ["down", "slow", "empty", "NaN"])
async def test_a_blind_scaler_falls_back_and_recovers(server: Prometheus, how: str) -> None:
    """However the telemetry is lost: first nothing, then the fallback, then business as usual."""
    world = World({"fast": 2})
    server.answers = {"fast": vector(8)}
    spec = _scaled_object(fallback={"failureThreshold": 3, "replicas": 4})

    async with running(world, server, spec, timeout_s=0.1 if how == "slow" else 1.0):
        await until(lambda: len(server.asked) > 4)
        assert not world.orders
        if how == "down":
            server.status = 503
        server.silent = how == "slow"
        if how in {"empty", "NaN"}:
            server.answers = {"fast": vector() if how == "empty" else vector(math.nan)}
        await until(lambda: world.replicas["fast"] == 4)
        await until(lambda: "ScaledObjectFallbackActivated" in world.reasons())
        server.status, server.silent, server.answers = 200, False, {"fast": vector(8)}
        await until(lambda: world.replicas["fast"] == 2)
        await until(lambda: "ScaledObjectFallbackDeactivated" in world.reasons())

    assert [count for _, count, _ in world.orders] == [4, 2]


async def test_demand_wakes_a_sleeping_tier(server: Prometheus) -> None:
    """KEDA wakes it to one, the HPA takes over; asleep, the HPA asks nobody."""
    world = World({"fast": 0})
    server.answers = {"fast": vector(0)}
    spec = _scaled_object(minReplicaCount=0, cooldownPeriod=0)

    async with running(world, server, spec) as scaler:
        await until(lambda: len(server.asked) > 2)
        (status,) = scaler.status()
        assert {c.type: c.reason for c in status.conditions}["ScalingActive"] == "ScalingDisabled"
        server.answers = {"fast": vector(12)}
        await until(lambda: world.replicas["fast"] == 3)
        server.answers = {"fast": vector(0)}
        await until(lambda: world.replicas["fast"] == 0)

    counts = [count for _, count, _ in world.orders]
    assert counts[:2] == [1, 3]
    assert counts[-1] == 0
    assert world.notes[0] == (
        "KEDAScaleTargetActivated",
        "scaledobject/fast",
        "Scaled apps/v1.Deployment inference/fast from 0 to 1, triggered by s0-prometheus",
    )
    assert world.reasons()[-1] == "KEDAScaleTargetDeactivated"
