"""Routes that vLLM has only with VLLM_SERVER_DEV_MODE=1: sleep, pause, and what undoes them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, Gauge, Histogram

from inference_platform.engine_sim.call import Call
from inference_platform.engine_sim.engine import Engine
from inference_platform.engine_sim.errors import bad_request

SLEEP_BUCKETS_S = (0.01, 0.1, 1, 10, 30, 60, 120, 300, 600)
Handler = Callable[[Call], Awaitable[None]]


class SleepMetrics:
    """How long sleeping and waking took. As in vLLM the families are there after their first use.

    Args:
        registry: where they appear.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register nothing yet."""
        self._registry = registry
        self._families: tuple[Histogram, Gauge] | None = None

    def record(self, operation: str, duration_s: float) -> None:
        """Count one operation that is complete: sleep or wake."""
        if self._families is None:
            self._families = self._create()
        durations, in_flight = self._families
        durations.labels(operation).observe(duration_s)
        in_flight.labels(operation).set(0)

    def _create(self) -> tuple[Histogram, Gauge]:
        durations = Histogram(
            "vllm:sleep_mode_operation_duration_seconds",
            "Duration of a sleep or a wake-up.",
            ["operation"],
            registry=self._registry,
            buckets=SLEEP_BUCKETS_S,
        )
        in_flight = Gauge(
            "vllm:sleep_mode_operations_in_flight",
            "Sleeps and wake-ups that have not ended.",
            ["operation"],
            registry=self._registry,
        )
        return durations, in_flight


def dev_routes(engine: Engine, registry: CollectorRegistry) -> dict[str, dict[str, Handler]]:
    """Return the routes, by path and method."""
    metrics = SleepMetrics(registry)

    async def sleep(call: Call) -> None:
        began_s = time.monotonic()
        given = parse_qs(call.query)
        level = given.get("level", ["1"])[0]
        if level not in ("0", "1", "2"):
            raise bad_request(f"expected level 0, 1 or 2, got {level}.")
        if given.get("mode", ["abort"])[0] == "abort":
            await engine.abort_all()
        engine.sleep(int(level))
        metrics.record("sleep", time.monotonic() - began_s)
        await call.answer_json(200, {"status": "sleeping", "level": int(level)})

    async def wake_up(call: Call) -> None:
        began_s = time.monotonic()
        engine.wake_up()
        metrics.record("wake", time.monotonic() - began_s)
        tags = parse_qs(call.query).get("tags")
        await call.answer_json(200, {"status": "awake", "tags": tags})

    async def pause(call: Call) -> None:
        engine.paused = True
        if parse_qs(call.query).get("mode", ["abort"])[0] == "abort":
            await engine.abort_all()
        await call.answer_json(200, {"status": "paused"})

    async def resume(call: Call) -> None:
        engine.paused = False
        await call.answer_json(200, {"status": "resumed"})

    async def reset_prefix_cache(call: Call) -> None:
        await call.answer_json(200, {"success": engine.reset_prefix_cache()})

    return {
        "/reset_prefix_cache": {"POST": reset_prefix_cache},
        "/sleep": {"POST": sleep},
        "/wake_up": {"POST": wake_up},
        "/is_sleeping": {"GET": lambda call: call.answer_json(200, {"is_sleeping": engine.asleep})},
        "/pause": {"POST": pause},
        "/resume": {"POST": resume},
        "/is_paused": {"GET": lambda call: call.answer_json(200, {"is_paused": engine.paused})},
    }
