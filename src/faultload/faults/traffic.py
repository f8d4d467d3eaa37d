"""Faults made of traffic: the senders that make it, from outside.

A sender is a process of the load's room, started by command line; `faultload.load.sender` says what
it reads and writes. Its folder is all that is needed to see what it does and to end it, from any
process: it holds `lock` while it lives, and sends only while `go` is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from faultload.errors import FaultError
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.record.directory import write_json
from faultload.spec.scenario import Arrivals, Lengths, Scenario, TierMix, Timeouts
from faultload.targets import is_locked, state_home
from faultload.targets.processes import last_line, spawn

Tokens = Annotated[int, Field(ge=1, le=100_000)]
LastsS = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]

_MODULE: Final = "faultload.load.sender"
_END_TIMEOUT_S = 15.0
_KILL_TIMEOUT_S = 5.0
_FRESH_S = 5.0
"""A sender says once a second what it does; older words say nothing about now."""

# A crowd is patient: whoever gives up early asks less of the platform.
_PATIENT = Timeouts(connect_s=5, first_token_s=120, gap_s=60, total_s=600)

_started: dict[Path, subprocess.Popen[bytes]] = {}
"""The senders that this process started: they end with it."""


def new_folder() -> Path:
    """Return where a sender will live; nothing is made yet."""
    return state_home() / "senders" / uuid.uuid4().hex


def asking(
    arrivals: Arrivals, model: str, prompt_tokens: int, output_tokens: int, tenant: str
) -> Scenario:
    """Return the workload of somebody who always asks for as much."""
    mix = TierMix(
        tier=model,
        model=model,
        weight=1,
        prompt_tokens=_exactly(prompt_tokens),
        output_tokens=_exactly(output_tokens),
    )
    return Scenario(
        name="added",
        description="Traffic that a fault adds",
        arrivals=arrivals,
        tiers=[mix],
        tenants=[tenant],
        timeouts=_PATIENT,
    )


def _exactly(tokens: int) -> Lengths:
    return Lengths(median=tokens, min=tokens, max=tokens)


def start(folder: Path, orders: Mapping[str, Any]) -> None:
    """Start a sender in a new folder; it ends with this process.

    Args:
        folder: made here, readable by its owner only.
        orders: as `faultload.load.sender.Orders` has them.
    """
    folder.mkdir(parents=True, mode=0o700)
    write_json(folder / "orders.json", dict(orders))
    (folder / "go").touch()
    _started[folder] = spawn([sys.executable, "-m", _MODULE, str(folder)], folder / "sender.log")


def progress(folder: Path) -> dict[str, Any]:
    """Return what a sender says that it sends, empty while it says nothing or nothing new.

    Raises:
        FaultError: it has ended; says what its last words were.
    """
    process = _started.get(folder)
    if process is not None and process.poll() is not None:
        raise FaultError(f"the sender ended early: {last_line(folder / 'sender.log') or 'no word'}")
    found = _read(folder / "progress.json")
    return found if time.time() - found.get("unix_s", 0.0) < _FRESH_S else {}


def sends(seen: Mapping[str, Any]) -> bool:
    """Say whether a sender sends what it should and the platform has to do with it.

    At least nine tenths of what was due in the last second was sent, and answers have begun or were
    refused.
    """
    due = seen.get("due", 0)
    return bool(due) and seen["sent"] >= 0.9 * due and seen["begun"] + seen["refused"] > 0


def stop(folder: Path) -> None:
    """End a sender, however its folder came to be, and wait for its end.

    Raises:
        FaultError: it goes on.
    """
    if not folder.is_dir():
        return
    (folder / "go").unlink(missing_ok=True)
    try:
        _wait_for_end(folder, _END_TIMEOUT_S)
    except FaultError:
        _kill(folder)
        _wait_for_end(folder, _KILL_TIMEOUT_S)
    process = _started.pop(folder, None)
    if process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_TIMEOUT_S)


def _wait_for_end(folder: Path, timeout_s: float) -> None:
    wait_until(
        lambda: "sending" if is_sending(folder) else "ended",
        lambda seen: seen == "ended",
        timeout_s,
        f"the sender of {folder} to end",
    )


def is_sending(folder: Path) -> bool:
    """Say whether a sender lives: the kernel drops its lock when it does not."""
    process = _started.get(folder)
    if process is not None and process.poll() is None:
        return True  # it may not have got as far as to its lock
    return folder.is_dir() and is_locked(folder)


def _kill(folder: Path) -> None:
    """Kill a sender that does not end; its number counts only while its command line is its own."""
    pid = int(_read(folder / "lock").get("pid", 0))
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if {_MODULE.encode(), os.fsencode(folder)} <= set(words):
            os.kill(pid, signal.SIGKILL)


def clear(folder: Path) -> dict[str, Any]:
    """Remove the folder of a sender that has ended; return its result, empty if it left none."""
    result = _read(folder / "result.json")
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def stop_all(plan: Plan) -> None:
    """End every sender of a plan, from whatever process.

    Raises:
        FaultError: after all were told to, one goes on.
    """
    folders = _folders(plan)
    for folder in folders:
        (folder / "go").unlink(missing_ok=True)
    for folder in folders:
        stop(folder)


def prove_ended(plan: Plan) -> Evidence:
    """Prove that no sender of a plan lives, say what they sent, and remove their folders.

    `refused_requests` in the data is how many were answered 502 or 503; None: a sender was ended
    before it could say.

    Raises:
        FaultError: one goes on.
    """
    folders = _folders(plan)
    alive = [str(folder) for folder in folders if is_sending(folder)]
    if alive:
        raise FaultError(f"a sender goes on: {', '.join(alive)}")
    results = [clear(folder) for folder in folders]
    if not all(results):
        return Evidence(
            "its sender has ended, and left no word of what it sent",
            {"refused_requests": None, "senders": results},
        )
    sent, ok, refused = (sum(one[k] for one in results) for k in ("sent", "ok", "refused_requests"))
    early = (
        "" if all(one["why"] == "told to" for one in results) else " early, before it was told to"
    )
    text = f"its sender has ended{early}: {sent} requests sent, {ok} answered, {refused} refused"
    return Evidence(text, {"refused_requests": refused, "senders": results})


def _folders(plan: Plan) -> list[Path]:
    return [Path(folder) for folder in plan.undo["senders"]]
