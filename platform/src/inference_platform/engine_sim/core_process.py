"""The engine core as a process of its own, forked before there is an event loop.

    API server                                core (`VLLM::EngineCore` in `ps` and `pgrep -f`)
    add, abort, hang, …      ── socketpair ─→  reads, steps when a step is due, sleeps
    metrics, streams         ←─ one report ──  a step
                             ←── the end ────  however it dies

Each message is marshalled behind its length. Only these two processes, of the same interpreter,
ever write to the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import marshal
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from inference_platform.engine_sim.core import Core, Message, OnReports, Report
from inference_platform.engine_sim.logs import log, log_death

TITLE = b"VLLM::EngineCore"
_LENGTH = struct.Struct("!I")
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # from <sys/prctl.h>
_RECEIVE_BYTES = 1 << 18

Load = Callable[[], tuple[Core, int]]  # makes a core, takes its time, returns its KV blocks too


class CoreProcess:
    """The API server's end.

    Args:
        pid: the core's process.
        sock: our end of the pair.
    """

    def __init__(self, pid: int, sock: socket.socket) -> None:
        """Wait for `open`."""
        self._pid = pid
        self._sock = sock
        self._transport: asyncio.Transport | None = None
        self._on_reports: OnReports = lambda _: None
        self._on_lost: Callable[[], None] = lambda: None
        self._reaped = False
        self._loaded: asyncio.Future[int | None] | None = None

    @property
    def pid(self) -> int:
        """The core's process."""
        return self._pid

    async def open(self) -> int | None:
        """Wait until the core has loaded; return its KV blocks, None when it has ended instead."""
        loop = asyncio.get_running_loop()
        self._loaded = loop.create_future()
        transport, _ = await loop.create_unix_connection(
            lambda: _Reader(self._receive, self._lose), sock=self._sock
        )
        self._transport = transport
        return await self._loaded

    def connect(self, on_reports: OnReports, on_lost: Callable[[], None]) -> None:
        """Say who takes reports, and whom to tell when the core is gone without a word."""
        self._on_reports, self._on_lost = on_reports, on_lost

    def send(self, message: Message) -> None:
        """Tell the core; what it does not read, because it stands still, waits here."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_frame(message))

    def drain(self) -> None:
        """Send SIGTERM, as vLLM: the core ends when its requests have."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end, which is then at once."""
        self._signal(signal.SIGKILL)
        if not self._reaped:
            self._reaped = True
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)

    def _signal(self, signum: int) -> None:
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signum)

    def _receive(self, messages: list[Message]) -> None:
        if messages and self._loaded is not None and not self._loaded.done():
            self._loaded.set_result(messages.pop(0)[0])
        self._on_reports([Report._make(message) for message in messages])

    def _lose(self) -> None:
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_result(None)
        self.kill()
        self._on_lost()


class _Reader(asyncio.Protocol):
    """Cuts what arrives into messages."""

    def __init__(
        self, on_messages: Callable[[list[Message]], None], on_end: Callable[[], None]
    ) -> None:
        self._on_messages = on_messages
        self._on_end = on_end
        self._cutter = _Cutter()

    def data_received(self, data: bytes) -> None:
        self._on_messages(list(self._cutter.feed(data)))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._on_end()


class _Cutter:
    """Finds whole messages in a stream of bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete now."""
        data = self._rest + data if self._rest else data
        at, size = 0, _LENGTH.size
        while len(data) - at >= size:
            end = at + size + _LENGTH.unpack_from(data, at)[0]
            if end > len(data):
                break
            message: Message = marshal.loads(data[at + size : end])  # noqa: S302  # our own child
            yield message
            at = end
        self._rest = data[at:]


def _frame(message: Message) -> bytes:
    body = marshal.dumps(message)
    return _LENGTH.pack(len(body)) + body


def start(load: Load, drain_s: float, not_ours: Sequence[socket.socket]) -> CoreProcess:
    """Fork a core. There must be no thread and no event loop yet.

    Args:
        load: runs in the core; SystemExit with the exit code when it cannot start.
        drain_s: how long requests may go on after a SIGTERM.
        not_ours: sockets that the core must not hold open.
    """
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        ours.setblocking(False)
        return CoreProcess(pid, ours)
    code = 1
    try:
        for sock in (ours, *not_ours):
            sock.close()
        _take_title()
        if _dies_with(parent):
            code = _Loop(theirs, drain_s).run(load)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  # nothing may escape into the parent's frames
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


class _Loop:
    """The life of the core's process.

    Args:
        sock: our end of the pair.
        drain_s: how long requests may go on after a SIGTERM.
    """

    def __init__(self, sock: socket.socket, drain_s: float) -> None:
        self._sock = sock
        self._drain_s = drain_s
        self._end_at: float | None = None  # set by SIGTERM
        self._alarm, self._bell = os.pipe()

    def run(self, load: Load) -> int:
        """Load, then step until the end; return the exit code."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the API server's to judge
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # lost while loading, as in vLLM
        core, blocks = load()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            self._sock.sendall(_frame((blocks,)))
            return self._serve(core)
        except (BrokenPipeError, ConnectionResetError):
            return 0  # the API server is gone

    def _on_sigterm(self, signum: int, frame: object) -> None:
        del signum, frame
        if self._end_at is None:
            self._end_at = time.monotonic() + self._drain_s
            os.write(self._bell, b"!")

    def _serve(self, core: Core) -> int:
        cutter, sock = _Cutter(), self._sock
        sources: list[socket.socket | int] = [sock, self._alarm]
        while True:
            due = core.next_at
            if self._end_at is not None:
                due = self._end_at if due is None else min(due, self._end_at)
            wait_s = None if due is None else max(0.0, due - time.monotonic())
            ready, _, _ = select.select(sources, [], [], wait_s)
            if sock in ready:
                data = sock.recv(_RECEIVE_BYTES)
                if not data:
                    return 0
                for message in cutter.feed(data):
                    core.handle(message)
            report = core.advance(time.monotonic())
            if report is not None:
                sock.sendall(_frame(tuple(report)))
                if report.died_of is not None:
                    log_death(report.died_of)
                    return 1
            if self._may_end(core, sources):
                return 0

    def _may_end(self, core: Core, sources: list[socket.socket | int]) -> bool:
        """Whether SIGTERM came and nothing is left to wait for; say once that it came."""
        if self._end_at is None:
            return False
        if self._alarm in sources:  # whether it rang or not: the signal may be newer than the wait
            sources.remove(self._alarm)
            self._tell_of_drain(core)
        return not core.unfinished or time.monotonic() >= self._end_at

    def _tell_of_drain(self, core: Core) -> None:
        mode, timeout = "drain" if self._drain_s else "abort", f"timeout={self._drain_s:g}s"
        said = ["trigger received signal=SIGTERM", f"start mode={mode} {timeout}"]
        if self._drain_s:
            said.append(f"draining in-flight requests count={core.unfinished} {timeout}")
        for text in said:
            log("INFO", f"[shutdown] EngineCore: {text}", "EngineCore")


def die_with_parent() -> None:
    """Ask Linux for a SIGKILL when the parent ends; elsewhere do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _dies_with(parent: int) -> bool:
    """End with the API server from now on; False when it has ended already."""
    die_with_parent()
    return os.getppid() == parent


def _take_title() -> None:
    """Show as vLLM's core in `ps` and to `pgrep -f`, so that it can be told from the API server.

    The kernel shows what stands where the arguments were at start (proc(5), arg_start, arg_end).
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_NAME, TITLE, 0, 0, 0)  # the kernel keeps 15 characters
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    start_at, end_at = int(fields[45]), int(fields[46])
    room = end_at - start_at
    if start_at and room > len(TITLE):
        ctypes.memmove(start_at, TITLE.ljust(room, b"\0"), room)
