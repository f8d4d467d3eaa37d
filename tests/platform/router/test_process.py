"""The router as a process: its command line, its sockets and how it stops."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from inference_platform.router.__main__ import main

Start = Callable[..., Awaitable[Any]]
Capture = pytest.CaptureFixture[str]
COMMAND = [sys.executable, "-m", "inference_platform.router"]


class Process:
    """A router started by command line on an inherited socket."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        """See the `process` fixture."""
        self.process = process
        self.port = port

    async def send(
        self, body: object, path: str = "/v1/chat/completions"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection and send one request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        raw = json.dumps(body).encode() if body is not None else b""
        method = "POST" if body is not None else "GET"
        head = f"{method} {path} HTTP/1.1\r\nhost: r\r\ncontent-length: {len(raw)}\r\n\r\n"
        writer.write(head.encode() + raw)
        return reader, writer

    async def answers(self) -> None:
        """Wait until it serves."""
        async with asyncio.timeout(15):
            while True:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    reader, writer = await self.send(None, path="/health")
                    head = await reader.readuntil(b"\r\n")
                    writer.transport.abort()
                    if b" 200 " in head:
                        return
                await asyncio.sleep(0.05)

    async def ends(self) -> int:
        """Wait for its end; the exit code."""
        async with asyncio.timeout(10):
            return await self.process.wait()


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts routers as processes, which die with the test."""
    started: list[asyncio.subprocess.Process] = []

    async def start(upstream: Any, *options: str) -> Process:
        path = tmp_path / "endpoints.json"
        entry = {"name": "fast-0", "uid": "1", "tier": "fast", "url": upstream.url, "ready": True}
        path.write_text(json.dumps({"endpoints": [entry]}))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(16)
            port = listener.getsockname()[1]
            fd = listener.fileno()
            command = [*COMMAND, "--fd", str(fd), "--endpoints", str(path), *options]
            one = await asyncio.create_subprocess_exec(*command, pass_fds=[fd])
        started.append(one)
        running = Process(one, port)
        await running.answers()
        return running

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.kill()
        await one.wait()


async def test_a_stopping_router_finishes_its_streams(
    process: Start, upstream: Start, wire: Any
) -> None:
    """SIGTERM: no new connections, the stream in flight runs to its end, exit 0."""
    go_on = asyncio.Event()

    async def script(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED, wire.chunk(wire.event("a")))
        await go_on.wait()
        await exchange.send(wire.chunk(wire.DONE) + b"0\r\n\r\n")

    one = await process(await upstream("fast-0", script), "--die-with-parent")
    reader, writer = await one.send(wire.CHAT)
    async with asyncio.timeout(5):
        await reader.readuntil(wire.event("a"))
    one.process.send_signal(signal.SIGTERM)

    async def refused() -> None:
        while True:
            try:
                _, new = await asyncio.open_connection("127.0.0.1", one.port)
            except ConnectionRefusedError:
                return
            new.transport.abort()
            await asyncio.sleep(0.02)

    async with asyncio.timeout(5):
        await refused()
    assert one.process.returncode is None
    go_on.set()
    async with asyncio.timeout(5):
        rest = await reader.read()
    assert wire.DONE in rest
    assert rest.endswith(b"0\r\n\r\n")
    writer.close()
    assert await one.ends() == 0


async def test_a_drain_that_takes_too_long_is_said_in_the_stream(
    process: Start, upstream: Start, wire: Any
) -> None:
    """After --drain-s what is left gets an error event; the exit code is still 0."""

    async def script(exchange: Any) -> None:
        await exchange.send(wire.HEAD + wire.CHUNKED, wire.chunk(wire.event("a")))

    replica = await upstream("fast-0", script)
    one = await process(replica, "--drain-s", "1")
    reader, writer = await one.send(wire.CHAT)
    async with asyncio.timeout(5):
        await reader.readuntil(wire.event("a"))
        one.process.send_signal(signal.SIGTERM)
        rest = await reader.read()
    assert b"router_stopped" in rest
    assert wire.DONE in rest
    assert rest.endswith(b"0\r\n\r\n")
    writer.close()
    assert await one.ends() == 0


def test_a_taken_port_is_one_clear_line(tmp_path: Path, capsys: Capture) -> None:
    """No traceback: what was wanted, what was found, what to do; exit 69."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["--port", port, "--endpoints", str(tmp_path / "e.json")]) == 69
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert port in said


def test_a_wrong_fd_is_one_clear_line(tmp_path: Path, capsys: Capture) -> None:
    """The inherited descriptor must be a socket, and must listen; exit 69."""
    read, write = os.pipe()
    idle = socket.socket().detach()
    for fd in (read, idle):
        assert main(["--fd", str(fd), "--endpoints", str(tmp_path / "e.json")]) == 69
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1
        assert f"--fd {fd}: expected " in said
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("options", [[], ["--port", "x"], ["--no-such-flag"]])
def test_a_bad_command_line_is_a_usage_error(
    tmp_path: Path, capsys: Capture, options: list[str]
) -> None:
    """Nowhere to listen, no number, no such flag: exit 64."""
    assert main(["--endpoints", str(tmp_path / "e.json"), *options]) == 64
    assert "--port" in capsys.readouterr().err
