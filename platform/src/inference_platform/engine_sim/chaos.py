"""The chaos port: faults on command, over HTTP on loopback, only when asked for.

    POST /die                  the engine core fails as after an illegal memory access
    POST /oom                  the engine core fails as when the GPU's memory is full
    POST /hang {"seconds": s}  no token for so long, while probes stay green; 0 ends it at once
    POST /slow {"factor": f}   every step takes f times as long; 1 undoes it
    POST /memory {"gib": x}    others hold so much GPU memory, or what is left; 0 gives it back
    POST /xid {"xid": n}       the driver reports this error, with its consequences (xid.yaml)
    POST /gpu/reset            the GPU is sound again for the next engine
    GET  /state                {"state": "serving" | "hung" | "dead", "slow_factor": f,
                               "core_pid": the process that runs the engine core,
                               "xid": the last one, "foreign_gib": memory that others hold}

Every call must bring the token of `--sim-chaos-token-file` as `Authorization: Bearer …`.
"""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Callable
from pathlib import Path

import orjson

from inference_platform.engine_sim.call import Call, Receive, Scope, Send
from inference_platform.engine_sim.core import OUT_OF_MEMORY
from inference_platform.engine_sim.engine import Engine
from inference_platform.engine_sim.gpu_faults import GpuFaults

ILLEGAL_ACCESS = "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"
LONGEST_HANG_S = 86400.0
FACTORS = (0.01, 1000.0)
DEATH_BOUND_S = 1.0
_LOOK_S = 0.005
MOST_GIB = 1024.0


class BadCommandError(Exception):
    """A fault that cannot be done; the text says what was expected and found."""


def read_token(path: Path) -> bytes:
    """Return the token in a file; ValueError in one line when there is none."""
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"cannot read --sim-chaos-token-file {path}: {reason}") from error
    if not token:
        raise ValueError(f"expected a token in --sim-chaos-token-file {path}, found nothing")
    return token


class ChaosApi:
    """The ASGI application of the chaos port.

    Args:
        engine: whom the faults hit.
        faults: those that hit its GPU.
        token: what callers must bring.
    """

    def __init__(self, engine: Engine, faults: GpuFaults, token: bytes) -> None:
        """Name the commands; one that returns True kills the engine."""
        self._engine = engine
        self._faults = faults
        self._token = token
        self._commands: dict[str, Callable[[bytes], bool | None]] = {
            "/die": lambda _: self._kill(ILLEGAL_ACCESS),
            "/oom": lambda _: self._kill(OUT_OF_MEMORY),
            "/hang": lambda raw: engine.hang(_number(raw, "seconds", 0.0, LONGEST_HANG_S)),
            "/slow": lambda raw: engine.slow_down(_number(raw, "factor", *FACTORS)),
            "/memory": lambda raw: faults.hold_memory(_number(raw, "gib", 0.0, MOST_GIB)),
            "/xid": lambda raw: faults.raise_xid(int(_number(raw, "xid", 1, 999))),
            "/gpu/reset": lambda _: faults.reset(),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do one command and answer with the state after it."""
        call = Call(scope, receive, send)
        scheme, _, token = call.headers.get(b"authorization", b"").partition(b" ")
        raw = await call.body()
        if raw is None:
            return
        if scheme.lower() != b"bearer" or not hmac.compare_digest(token, self._token):
            await call.answer_json(401, {"error": "expected Authorization: Bearer <token>"})
            return
        command = self._commands.get(call.path)
        if (call.method, call.path) != ("GET", "/state"):
            if command is None or call.method != "POST":
                known = ", ".join(f"POST {path}" for path in self._commands)
                text = f"expected {known} or GET /state, found {call.method} {call.path}"
                await call.answer_json(404, {"error": text})
                return
            try:
                if command(raw):
                    await self._wait_for_death()
            except BadCommandError as error:
                await call.answer_json(400, {"error": str(error)})
                return
            except ValueError as error:
                await call.answer_json(409, {"error": str(error)})
                return
        await call.answer_json(200, self._state())

    def _kill(self, reason: str) -> bool:
        self._engine.die(reason)
        return True

    async def _wait_for_death(self) -> None:
        """Let a core of its own process say that it died; one that stands still does not."""
        for _ in range(int(DEATH_BOUND_S / _LOOK_S)):
            if self._engine.dead:
                return
            await asyncio.sleep(_LOOK_S)

    def _state(self) -> dict[str, object]:
        engine = self._engine
        return {
            "state": engine.state,
            "slow_factor": engine.slow_factor,
            "core_pid": engine.core_pid,
            "xid": self._faults.state.xid,
            "foreign_gib": round(self._faults.state.foreign_gib, 3),
        }


def _number(raw: bytes, name: str, least: float, most: float) -> float:
    """Return the number in `{"name": number}`."""
    try:
        value = orjson.loads(raw)[name]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        value = None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not least <= value <= most:
        shown = raw[:60].decode(errors="replace")
        raise BadCommandError(
            f'expected {{"{name}": <{least:g} to {most:g}>}} as the body, found {shown!r}'
        )
    return float(value)
