"""Routes that vLLM has only with VLLM_SERVER_DEV_MODE=1: sleep, pause, and what undoes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from inference_platform.engine_sim.call import Call
from inference_platform.engine_sim.engine import Engine
from inference_platform.engine_sim.errors import bad_request

Handler = Callable[[Call], Awaitable[None]]


def dev_routes(engine: Engine) -> dict[str, dict[str, Handler]]:
    """Return the routes, by path and method."""

    async def sleep(call: Call) -> None:
        given = parse_qs(call.query)
        level = given.get("level", ["1"])[0]
        if level not in ("0", "1", "2"):
            raise bad_request(f"expected level 0, 1 or 2, got {level}.")
        if given.get("mode", ["abort"])[0] == "abort":
            engine.abort_all()
        engine.sleep(int(level))
        await call.answer_json(200, {"status": "sleeping", "level": int(level)})

    async def wake_up(call: Call) -> None:
        engine.wake_up()
        tags = parse_qs(call.query).get("tags")
        await call.answer_json(200, {"status": "awake", "tags": tags})

    async def pause(call: Call) -> None:
        engine.paused = True
        if parse_qs(call.query).get("mode", ["abort"])[0] == "abort":
            engine.abort_all()
        await call.answer_json(200, {"status": "paused"})

    async def resume(call: Call) -> None:
        engine.paused = False
        await call.answer_json(200, {"status": "resumed"})

    return {
        "/sleep": {"POST": sleep},
        "/wake_up": {"POST": wake_up},
        "/is_sleeping": {"GET": lambda call: call.answer_json(200, {"is_sleeping": engine.asleep})},
        "/pause": {"POST": pause},
        "/resume": {"POST": resume},
        "/is_paused": {"GET": lambda call: call.answer_json(200, {"is_paused": engine.paused})},
    }
