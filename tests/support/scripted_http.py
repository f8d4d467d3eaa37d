"""Scripted engine replicas, and a client that reads a reply step by step; asyncio, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp

from inference_platform.router.serving import build_server, listen

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(text: str) -> bytes:
    """One content event in vLLM's shape."""
    delta = {"index": 0, "delta": {"content": text}}
    return b"data: " + json.dumps({"choices": [delta]}).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def reply(status: int, body: object, extra: str = "") -> bytes:
    """A whole JSON reply."""
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}"
    return head.encode() + b"content-length: %d\r\n\r\n%b" % (len(data), data)


async def eventually(condition: Callable[[], object], what: str, bound_s: float = 5.0) -> None:
    """Wait until the condition holds; fails with `what` after a bound."""
    end_s = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {bound_s} s: {what}"
        await asyncio.sleep(0.005)


@dataclass
class Exchange:
    """One request as a scripted replica sees it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter
    gone: asyncio.Event
    """Set when the other side closed the connection."""

    async def send(self, *parts: bytes) -> None:
        """Write and flush each part by itself."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    def die(self) -> None:
        """Break the connection."""
        self.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


async def streams_two(exchange: Exchange) -> None:
    """A good stream of two tokens."""
    await exchange.send(HEAD + CHUNKED, chunk(event("a")), chunk(event("b")))
    await exchange.send(chunk(DONE) + b"0\r\n\r\n")


@dataclass
class Upstream:
    """A replica that does what its script says; `/health` answers by `healthy`."""

    name: str
    script: Script = streams_two
    healthy: bool = True
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    host: str = "127.0.0.1"
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where the endpoints file says it is."""
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Die: stop listening, break every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running: asyncio.Task[None] | None = None
        gone = asyncio.Event()
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.strip().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines)
                raw = await reader.readexactly(int(headers.get("content-length", "0")))
                if first.startswith("GET /health"):
                    writer.write(reply(200 if self.healthy else 503, {}))
                    continue
                if not self.exchanges or self.exchanges[-1].writer is not writer:
                    self.connections += 1
                path = first.split()[1]
                exchange = Exchange(path, headers, json.loads(raw or b"{}"), writer, gone)
                self.exchanges.append(exchange)
                running = asyncio.get_running_loop().create_task(self._run(exchange))
                self._tasks.add(running)
                running.add_done_callback(self._tasks.discard)
        except (asyncio.IncompleteReadError, OSError):
            gone.set()
        finally:
            writer.transport.abort()

    async def _run(self, exchange: Exchange) -> None:
        with contextlib.suppress(OSError):
            await self.script(exchange)


@dataclass
class Reply:
    """What a client got; `whole` says whether the HTTP message ended properly."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The payloads of its server-sent events."""
        parts = self.body.decode().split("\n\n")
        return [part.removeprefix("data: ") for part in parts if part]


class Client:
    """One HTTP/1.1 request on a connection of its own, read step by step or to the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The request has been sent."""
        self._reader = reader
        self._writer = writer
        self.headers: dict[str, str] = {}
        self.status = 0

    async def head(self) -> None:
        """Read the response head."""
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines[1:])

    async def part(self) -> bytes:
        """The next body chunk; b"" is the end."""
        size = int(await self._reader.readline(), 16)
        return (await self._reader.readexactly(size + 2))[:-2]

    async def finish(self) -> Reply:
        """Everything that is left."""
        if not self.status:
            await self.head()
        body, whole = b"", True
        try:
            if "content-length" in self.headers:
                body = await self._reader.readexactly(int(self.headers["content-length"]))
            else:
                while data := await self.part():
                    body += data
        except (asyncio.IncompleteReadError, ValueError, OSError):
            whole = False
        self.leave()
        return Reply(self.status, self.headers, body, whole)

    def leave(self) -> None:
        """Close the connection, as a client that lost patience."""
        self._writer.transport.abort()


async def open_request(
    port: int,
    body: object,
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> Client:
    """Send a request to a port of loopback; bytes as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{method} {path} HTTP/1.1", "host: here", f"content-length: {len(raw)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
    return Client(reader, writer)


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an application with the server of its process; the port."""
    server = build_server(app, drain_s=30)
    listener = listen("127.0.0.1", 0)
    # serve() without its signal handlers and its 0.1 s ticks, which would double every test.
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    try:
        yield listener.getsockname()[1]
    finally:
        # Likewise without its shutdown(), whose polling the process tests exercise.
        for one in server.servers:
            one.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        async with asyncio.timeout(10):
            await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
            await server.lifespan.shutdown()
