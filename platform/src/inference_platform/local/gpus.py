"""Which GPUs of a machine may be given to a replica: those that nobody holds and that work.

An engine keeps what happened to its GPU in a file, so that damage outlives it. A GPU that is broken
is not offered, as NVIDIA's device plugin withholds one after a critical Xid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from inference_platform.local import discovery
from inference_platform.local.machines import Machine
from inference_platform.local.pod import Pod

SOUND: Final = {"xid": 0, "broken": None, "gone": False, "foreign_gib": 0.0}
"""What an engine's file says of a GPU to which nothing has happened."""


class Gpus:
    """The GPUs of every machine; a machine that comes back has new ones."""

    def __init__(self, folder: Path) -> None:
        """Keep their files in a folder."""
        self._folder = folder

    def file(self, instance_id: str, index: int) -> Path:
        """Return where the state of a GPU is kept; no file means a sound one."""
        return self._folder / f"{instance_id}-{index}.json"

    def free(self, machine: Machine, pods: Iterable[Pod]) -> list[int]:
        """Return the GPUs that the next replica may have.

        Args:
            machine: where.
            pods: every replica; a stopping one holds its GPUs until it has ended.
        """
        held = {index for pod in pods if pod.node == machine.name for index in pod.gpus}
        return [n for n in range(machine.spec.gpus) if n not in held and self.works(machine, n)]

    def state(self, machine: Machine, index: int) -> dict[str, Any]:
        """Return what has happened to a GPU, as an engine keeps it."""
        try:
            text = self.file(machine.instance_id, index).read_text(encoding="utf-8")
            found: dict[str, Any] = json.loads(text)
        except (OSError, ValueError):
            return dict(SOUND)
        return SOUND | found

    def put(self, machine: Machine, index: int, state: Mapping[str, Any]) -> None:
        """Make a GPU what a state says, for the next engine on it."""
        file = self.file(machine.instance_id, index)
        if dict(state) == SOUND:
            file.unlink(missing_ok=True)
        else:
            discovery.write(file, dict(state))

    def works(self, machine: Machine, index: int) -> bool:
        """Whether an engine could start on a GPU."""
        return self.state(machine, index)["broken"] is None

    def reset(self, machine: Machine) -> int:
        """Make every GPU of a machine sound again; return how many were not."""
        files = [self.file(machine.instance_id, n) for n in range(machine.spec.gpus)]
        there = [file for file in files if file.exists()]
        for file in there:
            file.unlink()
        return len(there)
