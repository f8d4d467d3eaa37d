"""JSON lines that another process is still writing."""

from __future__ import annotations

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
        """Return the complete lines written since the last call; a torn one waits for its end."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [orjson.loads(line) for line in whole.splitlines()]
