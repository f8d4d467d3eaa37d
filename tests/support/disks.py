"""A disk that refuses to be written to, as far as this process opens files on it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Disk:
    """Everything below a folder. Whoever opens a file there to write to it is counted.

    Attributes:
        root: the folder.
        writes: how often something was to be written so far.
        fails_at: the number of the write from which on all are refused; None: none is.
        once: only that one is refused.
        error: what is said: an errno.
        seen: name and calling function of each write so far.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.writes = 0
        self.fails_at: int | None = None
        self.once = False
        self.error = errno.ENOSPC
        self.seen: list[tuple[str, ...]] = []
        self._at_file: tuple[str, int] | None = None

    def fills(self, name: str, time: int = 1) -> None:
        """Have it full from the write to a file of that name on; `time` counts those."""
        self._at_file = (name, time)

    def empties(self) -> None:
        """Refuse nothing any more."""
        self.fails_at = self._at_file = None

    def write(self, path: str) -> None:
        """Count a write, and refuse it where that is wanted."""
        self.writes += 1
        name = os.path.basename(path)  # noqa: PTH119
        self.seen.append((name, *_callers()))
        if self._at_file is not None and self._at_file[0] == name:
            self._at_file = (name, self._at_file[1] - 1)
            if self._at_file[1] == 0:
                self.fails_at = self.writes
        at = self.fails_at
        if at is not None and (self.writes == at if self.once else self.writes >= at):
            raise OSError(self.error, os.strerror(self.error), path)


def _callers() -> Iterator[str]:
    """Yield which of our functions wants to write, innermost first."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        frame = frame.f_back
        if "/faultload/" in frame.f_code.co_filename:
            yield frame.f_code.co_name


_watched: list[Disk] = []


def _see(event: str, args: tuple[Any, ...]) -> None:
    """Python tells of every file that is opened; what is raised here becomes the answer."""
    if not _watched:
        return
    opens = event == "open" and bool(args[2] & _WRITING)
    if not (opens or event == "os.mkdir") or not isinstance(args[0], str | os.PathLike):
        return
    path = os.fspath(args[0])
    if not isinstance(path, str) or (not opens and os.path.exists(path)):  # noqa: PTH110
        return  # a folder that is there needs no room
    for disk in _watched:
        if path.startswith(disk.root):
            disk.write(path)


sys.addaudithook(_see)  # there is no way to take it off again


@contextmanager
def watched(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Return the disk below `root`, watched inside the block."""
    disk, write_table = Disk(root), pq.write_table

    def write(table: Any, where: Any, **options: Any) -> None:  # Arrow opens files by itself
        if str(where).startswith(disk.root):
            disk.write(str(where))
        write_table(table, where, **options)

    monkeypatch.setattr(pq, "write_table", write)
    _watched.append(disk)
    try:
        yield disk
    finally:
        _watched.remove(disk)
