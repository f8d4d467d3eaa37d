"""Engines to test: in this process on a thread of their own, or as real processes."""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from inference_platform.engine_sim import flags as command_line
from inference_platform.engine_sim.engine import Engine
from inference_platform.engine_sim.listen import Server, bind, make_server
from inference_platform.engine_sim.server import build

BOUND_S = 10.0
# Servers that were told to stop. It takes each a fifth of a second, for which no test waits.
_ENDING: list[tuple[threading.Thread, asyncio.AbstractEventLoop]] = []


def wait_until(condition: Callable[[], bool], what: str, bound_s: float = BOUND_S) -> None:
    """Poll until `condition` holds; fail with what was waited for."""
    give_up = time.monotonic() + bound_s
    while not condition():
        if time.monotonic() > give_up:
            pytest.fail(f"not within {bound_s} s: {what}")
        time.sleep(0.01)


class LocalEngine:
    """An engine on a thread of this process. `url` ends without a slash."""

    def __init__(self, url: str, engine: Engine, server: Server) -> None:
        """Remember where it is."""
        self.url = url
        self.engine = engine
        self.server = server
        self.session = requests.Session()

    def post(self, path: str, **body: object) -> requests.Response:
        """Post a JSON body."""
        return self.session.post(self.url + path, json=body, timeout=BOUND_S)

    def chat(self, text: str = "hello world", **more: object) -> requests.Response:
        """Post a chat with one user message."""
        messages = [{"role": "user", "content": text}]
        return self.post("/v1/chat/completions", messages=messages, **more)

    def get(self, path: str, **headers: str) -> requests.Response:
        """Get a path."""
        return self.session.get(self.url + path, headers=headers, timeout=BOUND_S)

    def metric(self, sample: str) -> float:
        """Return one sample's value; `sample` is everything before the value on its line."""
        for line in self.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        raise AssertionError(f"no sample {sample}")


@contextmanager
def local_engine(*argv: str) -> Iterator[LocalEngine]:
    """Serve with these flags on a free port until the block ends."""
    api, engine = build(command_line.parse(argv))
    server = make_server(api)
    sock = bind("127.0.0.1", 0)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(server.serve(sockets=[sock]),), daemon=True
    )
    thread.start()
    wait_until(lambda: server.started, "the server to start")
    local = LocalEngine(f"http://127.0.0.1:{sock.getsockname()[1]}", engine, server)
    try:
        yield local
    finally:
        local.session.close()
        loop.call_soon_threadsafe(server.stop_listening)
        _ENDING.append((thread, loop))


class EngineProcess:
    """An engine as its own process; its standard error goes to a file."""

    def __init__(self, log: Path, *argv: str) -> None:
        """Start it; it dies with this process at the latest."""
        self._log = log
        command = [sys.executable, "-m", "inference_platform.engine_sim", "--port", "0"]
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [*command, "--sim-die-with-parent", *argv], stderr=stream
            )

    def log(self) -> str:
        """Return what it has logged so far."""
        return self._log.read_text()

    def url(self) -> str:
        """Wait until it listens; return where."""
        wait_until(
            lambda: "Application startup complete." in self.log(),
            f"the engine to start; its log: {self._log}",
        )
        found = re.search(r"server on (http://\S+)", self.log())
        assert found is not None
        return found[1]


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., AbstractContextManager[LocalEngine]]]:
    """Return what runs an engine in this process, as a context manager that takes flags."""
    yield local_engine
    for thread, loop in _ENDING:
        thread.join(BOUND_S)
        assert not thread.is_alive(), "a server did not stop"
        loop.close()


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """`until(condition, what)` waits for something with a bound."""
    return wait_until


@contextmanager
def engine_processes(directory: Path) -> Iterator[Callable[..., EngineProcess]]:
    """Start engines as processes, from any thread; the block's end kills them."""
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(*argv: str) -> EngineProcess:
            engine = EngineProcess(directory / f"engine{next(numbers)}.log", *argv)
            stack.callback(engine.process.wait)
            stack.callback(engine.process.kill)
            return engine

        yield start


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., EngineProcess]]:
    """Start engines as processes; the test's end kills them."""
    with engine_processes(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def together(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Callable[..., None], Iterable[tuple[Any, ...]]], list[Future[None]]]]:
    """`together(scenario, rows)` runs `scenario(spawn, *row)` for every row at once.

    Most of what processes do in tests is waiting. Each row is a test, which asks for its result.
    """
    with (
        engine_processes(tmp_path_factory.mktemp("together")) as start,
        ThreadPoolExecutor() as pool,
    ):
        yield lambda scenario, rows: [pool.submit(scenario, start, *row) for row in rows]
