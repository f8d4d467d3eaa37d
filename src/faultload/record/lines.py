"""JSON lines that another process is still writing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson


class Tail:
    """The lines of a growing file, each given out once."""

    def __init__(self, path: Path) -> None:
        """Begin at the file's start; it need not exist yet."""
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """Return the complete lines written since the last call; a torn one waits for its end.

        A line that is no JSON was cut short by a full disk: it is left out, and whoever counts
        what was written finds it missing.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return list(_objects(whole))


def _objects(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.split(b"\n"):
        with contextlib.suppress(orjson.JSONDecodeError):
            if isinstance(found := orjson.loads(line), dict):
                yield found
