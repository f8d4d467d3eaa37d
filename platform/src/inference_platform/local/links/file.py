"""The supervisor's side of links.json: write it, and wait until it is in force."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from inference_platform.local import discovery
from inference_platform.local.errors import MissingError
from inference_platform.local.links.document import Link
from inference_platform.local.links.follow import applied_path

LOOK_AGAIN_S = 0.01


class LinkFile:
    """One links.json, whose versions grow, and what the links process says of them."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet; what an earlier links process said is forgotten."""
        self._path = path
        self._version = 0
        self.forget()

    def write(self, links: Iterable[Link]) -> int:
        """Replace the file; return the version to wait for."""
        self._version += 1
        rows = [asdict(link) for link in links]
        discovery.write(self._path, {"version": self._version, "links": rows})
        return self._version

    def forget(self) -> None:
        """Forget what was in force: for when the links process is about to be started again."""
        applied_path(self._path).unlink(missing_ok=True)

    def is_applied(self, version: int, silent_s_max: float) -> bool:
        """Whether a version, or a later one, is in force, and the process has shown life lately."""
        path = applied_path(self._path)
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            silent_s = time.time() - path.stat().st_mtime
        except (OSError, ValueError):
            return False
        return (said.get("version") or 0) >= version and silent_s <= silent_s_max

    async def applied(self, version: int, timeout_s: float) -> None:
        """Wait until a version, or a later one, is in force.

        Raises:
            MissingError: the links process refused it, or did not say in time that it is.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            try:
                last = applied_path(self._path).read_text(encoding="utf-8")
                said = json.loads(last)
            except FileNotFoundError:
                last, said = "no such file", {}
            if (said.get("version") or 0) >= version:
                return
            if said.get("newest") == version and said["problems"]:
                raise MissingError(f"links version {version} was refused: {said['problems'][0]}")
            if loop.time() >= deadline:
                raise MissingError(
                    f"links version {version} is not in force after {timeout_s:g} s; "
                    f"{applied_path(self._path)} last said: {last.strip()}"
                )
            await asyncio.sleep(LOOK_AGAIN_S)
