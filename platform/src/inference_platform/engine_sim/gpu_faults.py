"""What happens to a GPU while an engine runs on it: Xid errors and memory that others take.

The table of Xid numbers is `xid.yaml`. All of it hits the engine's first GPU.
"""

from __future__ import annotations

import contextlib
import math
import sys
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

from inference_platform.engine_sim.device import GIB
from inference_platform.engine_sim.engine import Engine
from inference_platform.engine_sim.gpu import Gpu, bus_id
from inference_platform.engine_sim.gpu_state import GpuState, write_state

FOR_EVER_S = 3e7  # a year: longer waits than select() takes
WEAK_MEMORY_FACTOR = 1.2  # a stand-in: how much a high rate of corrected errors slows steps


@cache
def xids() -> dict[int, dict[str, Any]]:
    """Return the known Xid numbers and their rows."""
    yaml = import_module("yaml")  # late: most engines never need it
    text = files(__package__).joinpath("xid.yaml").read_text(encoding="utf-8")
    loaded: dict[int, dict[str, Any]] = yaml.safe_load(text)
    return loaded


class GpuFaults:
    """Breaks a GPU, and keeps what outlives the engine.

    Args:
        engine: who runs on the GPU.
        gpu: its memory.
        state: what is the matter with it so far; changed in place.
        path: where the state is kept; None: it ends with the process.
    """

    def __init__(self, engine: Engine, gpu: Gpu, state: GpuState, path: str | None) -> None:
        """Change nothing yet."""
        self._engine = engine
        self._gpu = gpu
        self._path = path
        self.state = state

    def hold_memory(self, gib: float) -> None:
        """Let somebody else hold so much memory, or as much of it as is left; 0 gives it back."""
        gpu, state = self._gpu, self.state
        held = gib * GIB if self._engine.dead else gpu.foreign_bytes(gib)
        state.foreign_gib = min(held, gpu.memory_bytes) / GIB
        write_state(self._path, state)
        tokens = gpu.step_tokens(gib) if gib else math.inf
        self._engine.leave_room(tokens, gpu.out_of_memory(gib))

    def raise_xid(self, number: int) -> bool:
        """Let the driver report an Xid, with its consequences; return whether the engine dies.

        ValueError for a number that is not in the table.
        """
        row = xids().get(number)
        if row is None:
            raise ValueError(f"expected an Xid of {', '.join(map(str, xids()))}, found {number}")
        engine, state = self._engine, self.state
        log_xid(number, row["says"], engine.core_pid)
        state.xid = number
        state.broken = row.get("start", state.broken)
        state.gone = bool(row.get("gone", state.gone))
        write_state(self._path, state)
        effect = row["effect"]
        if effect == "die":
            engine.die(row["error"])
        elif effect == "hang" and not engine.dead:
            engine.hang(FOR_EVER_S)
        elif effect == "slow":
            with contextlib.suppress(ValueError):  # known timing stays known
                engine.slow_down(WEAK_MEMORY_FACTOR)
        return bool(effect == "die")

    def reset(self) -> None:
        """Make the GPU sound again for the next engine; nobody keeps memory through a reset."""
        self.state.clear()
        write_state(self._path, self.state)
        self._engine.leave_room(math.inf, "")


def log_xid(number: int, says: str, pid: int) -> None:
    """Print the kernel's line about the first GPU."""
    place = bus_id(0).removesuffix(".0").lower()
    with contextlib.suppress(OSError):
        sys.stderr.write(
            f"NVRM: Xid (PCI:{place}): {number}, pid={pid}, name=VLLM::EngineCor, {says}\n"
        )
