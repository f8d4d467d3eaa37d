"""Sockets and HTTP servers: bound early, listening late, stopped by whoever owns them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from inference_platform.engine_sim.call import WRITE_NOW, Receive, Scope, Send
from inference_platform.engine_sim.logs import log

KEEP_ALIVE_S = 5  # vLLM's default for idle connections

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def bind(host: str, port: int) -> socket.socket:
    """Bind without listening; OSError says in one line why not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only where the protocol is named.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(f"cannot bind {host}:{port}: {error.strerror or error}") from error
    return sock


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP with one more way to send, for whoever has no task to wait in.

    `scope["state"][WRITE_NOW]` writes a piece of a body that `send` has begun. No part of ASGI:
    relies on uvicorn 0.54, whose protocol keeps `cycle`, `scope` and `flow`, and whose cycle keeps
    `flow`, `transport`, `chunked_encoding` and `response_complete` (test_write_now.py).
    """

    def on_headers_complete(self) -> None:
        """Offer it to the application, whose task exists now but has not run yet."""
        super().on_headers_complete()
        self.scope["state"][WRITE_NOW] = partial(_write_now, self.cycle)


def _write_now(cycle: RequestResponseCycle, body: bytes) -> bool:
    """Write a chunk; False, and nothing written, when only `send` knows what to do.

    That is so when the client does not read (the transport holds more than its high-water mark),
    has left, or gets another body than a chunked one.
    """
    if (
        cycle.flow.write_paused
        or not cycle.chunked_encoding
        or cycle.response_complete
        or cycle.transport.is_closing()
    ):
        return False
    if body:  # an empty chunk would be the last one
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
    return True


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: ours decide what a signal means."""

    def __init__(self, config: uvicorn.Config) -> None:
        """Start with no listener, so that stopping early is harmless."""
        super().__init__(config)
        self.servers = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    def stop_listening(self) -> None:
        """Refuse new connections now and end when the open ones have closed."""
        for server in self.servers:
            server.close()
        self.should_exit = True


class ApiServer(Server):
    """The server whose start is the application's."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that we listen, once we do."""
        await super().startup(sockets)
        log("INFO", "Application startup complete.")


def make_server(app: Application, kind: type[Server] = ApiServer) -> Server:
    """Return the HTTP server for an application, ready for `serve(sockets=[…])`."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return kind(config)
