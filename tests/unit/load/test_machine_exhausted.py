"""A machine with nothing left for the load client: its own failure, never the platform's."""

from __future__ import annotations

import errno
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from loads import BOUND_S, made_trace, wait_until, workload
from streaming_server import streaming_server
from wire import GOOD, say

from faultload.load import LoadGenerator
from faultload.load.worker.connection import Pool
from faultload.load.worker.dispatch import _Lines
from faultload.record import Tail


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
def test_request_without_a_socket_was_never_sent(
    serve: Any, asker: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """No file descriptor or port left is no answer of the platform: unsent, and nobody's fault."""

    def refuse(_: Pool) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Pool, "open", refuse)
    row = asker(serve(say(GOOD)).url).ask()

    assert (row["status"], row["sent_s"]) == ("unsent", None)
    assert row["error"] == os.strerror(number).lower()


class _Short:
    """A file that takes a few bytes at a time, and refuses once it holds so many."""

    closed = False

    def __init__(self, room: int) -> None:
        self.held, self._room = b"", room

    def write(self, data: bytes) -> int:
        if len(self.held) >= self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.held += data[:7]
        return min(7, len(data))


def test_rows_are_written_whole_or_refused(tmp_path: Path) -> None:
    """A disk that takes a part at a time gets the rest; one that is full is an error."""
    lines = _Lines(tmp_path / "rows.jsonl")
    lines._file.close()
    file: Any = _Short(60)
    lines._file = file
    lines.append({"index": 1, "status": "ok"})
    lines.flush()
    assert file.held == b'{"index":1,"status":"ok"}\n'
    for _ in range(3):
        lines.append({"index": 2, "status": "ok"})

    with pytest.raises(OSError, match="No space left"):
        lines.flush()


def test_line_that_was_cut_short_spoils_only_itself(tmp_path: Path) -> None:
    """What a full disk took of a row is left out; the rows around it are read."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"index":1}\n{"index":2,"st\n{"index":3}\n[4]\n{"index":')

    assert [row["index"] for row in Tail(path).read()] == [1, 3]


@pytest.mark.local
def test_worker_that_cannot_write_its_rows_ends_and_says_why(tmp_path: Path) -> None:
    """Rows that nobody can read are no evidence: it ends at once, and so will the run."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with streaming_server(0.05) as server:
        trace = made_trace(tmp_path / "trace.parquet", 60.0)
        load = LoadGenerator(trace, workload(), server.url, tmp_path / "out", tmp_path / "logs")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # the worker inherits it
        try:
            load.start()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        try:
            load.wait_ready(BOUND_S)
            load.go(time.time() + 0.1)
            wait_until(lambda: not load.alive(), "the worker's end")
            rows = load.poll()
        finally:
            load.stop(1.0)

    assert "rows cannot be written: File too large" in load.last_words()
    assert len(rows) > 10
    summary = load.collect(tmp_path / "requests.parquet", 60.0)
    assert summary.workers_lost == 1
