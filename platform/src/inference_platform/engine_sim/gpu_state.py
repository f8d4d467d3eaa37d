"""What stays with a GPU when its engine ends: the last Xid, damage, and memory that others hold.

Kept in `--sim-gpu-state FILE` as JSON, so that the next engine on that GPU finds it as it was;
without a file it ends with the process. Deleting the file is a reset too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(slots=True)
class GpuState:
    """A GPU between two engines.

    `broken` is None, or what an engine says that tries to start on it. `gone` means that the
    driver does not see the GPU any more. `foreign_gib` is what others were asked to hold.
    """

    xid: int = 0
    broken: str | None = None
    gone: bool = False
    foreign_gib: float = 0.0

    def clear(self) -> None:
        """Become a sound GPU."""
        self.xid, self.broken, self.gone, self.foreign_gib = 0, None, False, 0.0


def read_state(path: str | None) -> GpuState:
    """Return what is in the file, a sound GPU when there is none; ValueError in one line."""
    if path is None or not Path(path).exists():
        return GpuState()
    try:
        return GpuState(**orjson.loads(Path(path).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"expected a GPU's state as JSON in --sim-gpu-state {path}, found {error}; "
            "delete the file to reset the GPU"
        ) from error


def write_state(path: str | None, state: GpuState) -> None:
    """Keep a state for the next engine, where there is a file for it."""
    if path is None:
        return
    part = Path(f"{path}.part")
    part.write_bytes(orjson.dumps(asdict(state)))
    part.replace(path)
