"""A server that says exactly what a test scripts, and one client request against it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from faultload.load.plan import WorkerPlan
from faultload.load.worker.client import Client, Due
from faultload.spec.scenario import Timeouts

BOUND_S = 10.0  # of every wait; far above what any of them needs

Script = Callable[[socket.socket], None]


class Server:
    """Plays one script a connection, in order; the last script repeats."""

    def __init__(self, *scripts: Script) -> None:
        """Listen on a free port."""
        self._scripts = scripts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._play, args=(script, connection))
            self._threads.append(thread)
            thread.start()

    def _play(self, script: Script, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            script(connection)

    def close(self) -> None:
        """End every connection and wait for its script."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(BOUND_S)
            assert not thread.is_alive(), "a scripted connection did not end"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start scripted servers that end with the test."""
    servers: list[Server] = []

    def start(*scripts: Script) -> Server:
        servers.append(Server(*scripts))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class Asker:
    """A client whose rows are kept; requests are due at 0 unless a test says otherwise."""

    def __init__(
        self,
        url: str,
        tmp_path: Path,
        api_key: str | None = None,
        ca: Path | None = None,
        **limits: float,
    ) -> None:
        """Connect to nothing yet; `limits` are fields of Timeouts."""
        timeouts = Timeouts(**({"connect_s": 5, "first_token_s": 5, "gap_s": 5} | limits))
        plan = WorkerPlan(
            worker=3,
            workers=4,
            trace=tmp_path / "none",
            base_url=url,
            timeouts=timeouts,
            ignore_eos=True,
            out=tmp_path,
            parent_pid=0,
            ca=ca,
        )
        start_s = time.monotonic()
        self.skew_s = 0.0
        self.rows: list[dict[str, Any]] = []
        self.client = Client(
            plan, lambda: time.monotonic() - start_s + self.skew_s, self.rows.append, api_key
        )

    def ask(self) -> dict[str, Any]:
        """Send one request and return its row."""
        before = len(self.rows)
        self.client.release(self.due())
        (exchange,) = self.client._in_flight
        self.wait(lambda: len(self.rows) > before)
        assert exchange.greenlet is not None
        exchange.greenlet.join(BOUND_S)  # its connection is given back, or closed
        return self.rows[-1]

    def due(self) -> Due:
        """Return a request that is due now."""
        return Due(7, self.client.clock(), "fast", "chat-fast", "acme", "s1", "one two", 2, 5)

    def wait(self, until: Callable[[], bool]) -> None:
        """Let the client run until something is so; fails after BOUND_S."""
        deadline_s = time.monotonic() + BOUND_S
        while not until():
            assert time.monotonic() < deadline_s, f"still waiting; rows so far: {self.rows}"
            gevent.sleep(0.002)
            self.client.tick(self.client.clock())


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Callable[..., Asker]]:
    """Make clients that leave no connection behind."""
    askers: list[Asker] = []

    def make(
        url: str, api_key: str | None = None, ca: Path | None = None, **limits: float
    ) -> Asker:
        askers.append(Asker(url, tmp_path, api_key, ca, **limits))
        return askers[-1]

    yield make
    for one in askers:
        one.client.stop()
