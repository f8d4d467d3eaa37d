"""Asks an engine's own port for faults, which only this platform knows the token of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from signal import Signals
from typing import Any

from inference_platform.local import probe
from inference_platform.local.addresses import Address
from inference_platform.local.errors import OrderError
from inference_platform.local.pod import Pod

TIMEOUT_S = 3.0


async def ask(
    address: Address, token: str, command: str, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Give one command and return the engine's answer.

    Raises:
        OrderError: with the engine's status and words when it refuses; 409 when it is silent.
    """
    method = "GET" if command == "state" else "POST"
    content = json.dumps(body).encode() if body else b""
    answer = await probe.http(
        address, method, f"/{command}", TIMEOUT_S, content, {"authorization": f"Bearer {token}"}
    )
    if answer is None:
        raise OrderError(
            409,
            "the engine's port for faults gives no answer: it listens once the engine has loaded",
        )
    status, text = answer
    try:
        said = json.loads(text)
    except ValueError:
        said = {"error": text[:200]}
    if status != 200:
        raise OrderError(status, str(said.get("error", said)))
    return dict(said)


async def signal_core(pod: Pod, token: str, number: Signals) -> int:
    """Signal an engine's core; return its process id.

    Raises:
        OrderError: 409 when it has none, or it has ended.
    """
    pid = await core_pid(pod.addresses.chaos, token)
    try:
        os.kill(pid, number)
    except ProcessLookupError as error:
        raise OrderError(409, f"the engine core of {pod.name} has ended") from error
    if pod.unit is not None:
        pod.unit.mark(number, "engine-core")
    return pid


async def core_pid(address: Address, token: str) -> int:
    """Return the process id of the engine's core.

    Raises:
        OrderError: 409 when it runs none of its own.
    """
    pid = (await ask(address, token, "state", {})).get("core_pid")
    if not isinstance(pid, int):
        raise OrderError(409, "this engine's core is not a process of its own")
    return pid
