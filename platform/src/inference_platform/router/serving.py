"""Running an application as a process: its sockets, its server and how it stops."""

import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

BACKLOG = 2048
# Whoever pools connections has to close them first: a request down one that we are just closing
# is a 502. A load balancer of AWS keeps idle ones for at most 4000 s.
KEEP_ALIVE_S = 4010
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ServingError(Exception):
    """The application cannot be served; the text says what was expected and what to do."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which exits 0 after a drain instead of dying by the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install the handlers for the time of serving."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def build_server(app: ASGIApp, drain_s: float) -> DrainingServer:
    """A server for the app; run it with the sockets it should listen on."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    return DrainingServer(config)


def listen(host: str, port: int) -> socket.socket:
    """A new listening socket; raises ServingError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        why = error.strerror or str(error)
        raise ServingError(f"cannot listen on {host}:{port}: {why}; choose another port") from None
    listener.setblocking(False)
    return listener


def inherit(fd: int) -> socket.socket:
    """The listening socket a parent process passed on; raises ServingError."""
    try:
        listener = socket.socket(fileno=fd)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        why = error.strerror or str(error)
        raise ServingError(f"--fd {fd}: expected an inherited listening socket: {why}") from None
    if not listening:
        listener.close()
        raise ServingError(f"--fd {fd}: expected a listening socket, found one that is not")
    listener.setblocking(False)
    return listener


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux only)."""
    if sys.platform != "linux":
        raise ServingError("--die-with-parent: only Linux can do that; leave it out")
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise ServingError(f"--die-with-parent: prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)


def serve(app: ASGIApp, sockets: list[socket.socket], drain_s: float) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    server = build_server(app, drain_s)
    # What is alive now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    server.run(sockets=sockets)
