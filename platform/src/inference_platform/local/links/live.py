"""One link at work: its listening socket, its connections, and conditions that change."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import sys

from inference_platform.local.links.connection import Connection, Wire, ceil_ms, reset_on_close
from inference_platform.local.links.document import Address, Link

BACKLOG = 2048
KERNEL_BYTES = 64 * 1024
"""What a socket holds, each way, before we read it or its peer takes it; Linux doubles it."""
ACCEPT_AT_ONCE_MAX = 64
FILLERS = 2  # one fills a queue of length 0; another, a queue of 1, as some systems make of it
EXHAUSTED_PAUSE_S = 0.1
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def _prepare(sock: socket.socket) -> None:
    """Set what must be set before a connection is made."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)


def listen(address: Address) -> socket.socket:
    """Return a listening socket; raises OSError."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _prepare(listener)  # what it accepts takes after it
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class LiveLink:
    """Relays until it is closed."""

    def __init__(self, link: Link, listener: socket.socket, seed: int) -> None:
        """Serve a listening socket, inside a running loop; seed and name decide every draw."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        seeds = [f"{seed}/{link.name}/{what}" for what in ("resets", "there", "back")]
        self._random = random.Random(seeds[0])  # noqa: S311  # reproducible is what it must be
        # A new link starts undisturbed and open, and `change` does the rest.
        self._link = Link(link.name, link.listen, link.to)
        self._there, self._back = (Wire(self._loop, self._link, seed) for seed in seeds[1:])
        self._connections: dict[Connection, None] = {}  # in the order of opening
        self._opening: set[asyncio.Task[None]] = set()
        self._whole = asyncio.Event()
        self._whole.set()
        self._fillers: list[socket.socket] = []
        self._resets_due = False
        self._said: set[str] = set()
        self.change(link)
        if not link.partitioned:
            self._loop.add_reader(self._listener, self._accept)

    def change(self, link: Link) -> None:
        """Take new conditions; they hold for open connections too. The address stays."""
        before, self._link = self._link, link
        for wire in (self._there, self._back):
            wire.change(link)
        if link.reset_ratio != before.reset_ratio:
            for connection in self._connections:
                connection.spare()  # what is reset is drawn anew
            self._resets_due = link.reset_ratio > 0
        if link.partitioned and not before.partitioned:
            self._part()
        elif before.partitioned and not link.partitioned:
            self._heal()
        for connection in self._connections:
            connection.refresh()
        if self._resets_due and not link.partitioned:  # no reset passes a partition
            self._resets_due = False
            for connection in self._connections:
                if self._is_drawn():
                    connection.reset()

    def close(self) -> None:
        """Stop listening and reset every connection."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for task in self._opening:
            task.cancel()
        for connection in self._connections:
            connection.reset()
        for filler in self._fillers:
            filler.close()
        for wire in (self._there, self._back):
            wire.close()

    def _is_drawn(self) -> bool:
        return self._random.random() < self._link.reset_ratio

    def _part(self) -> None:
        """Accept nothing, and keep the kernel from accepting for us: fill its queue."""
        self._whole.clear()
        self._loop.remove_reader(self._listener)
        self._listener.listen(0)
        for _ in range(FILLERS):
            with contextlib.suppress(OSError):  # BlockingIOError is the rule
                filler = socket.socket()
                self._fillers.append(filler)
                filler.setblocking(False)
                reset_on_close(filler)
                filler.connect(self._link.listen)

    def _heal(self) -> None:
        ours = {filler.getsockname() for filler in self._fillers}
        self._listener.listen(BACKLOG)
        self._whole.set()
        self._accept(ours)
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self, ours: set[Address] | None = None) -> None:
        """Accept who waits; `ours` are those that only filled the queue."""
        for _ in range(ACCEPT_AT_ONCE_MAX):
            try:
                caller, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._complain("cannot accept for now", error)
                    self._loop.remove_reader(self._listener)
                    self._loop.call_later(EXHAUSTED_PAUSE_S, self._accept_again)
                    return
                continue  # this one left before it was accepted
            if ours and address in ours:
                caller.close()
                continue
            caller.setblocking(False)
            task = self._loop.create_task(self._open(caller))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _accept_again(self) -> None:
        if self._whole.is_set() and self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    async def _open(self, caller: socket.socket) -> None:
        """Connect one caller to the callee, or reset it."""
        callee: socket.socket | None = None
        joined = False
        try:
            # Caller and kernel have shaken hands already: the first bytes pay for that way.
            handshake_s = self._there.path.delay_s() + self._back.path.delay_s()
            if handshake_s:
                await asyncio.sleep(ceil_ms(handshake_s))
            await self._whole.wait()
            # Reset before anything, on the first bytes from the caller, or on the callee's first.
            doom = self._random.randrange(3) if self._is_drawn() else None
            if doom != 0:
                callee = socket.socket()
                if await self._reaches(callee):
                    await self._join(caller, callee, doom)
                    joined = True
                    return
            await self._whole.wait()  # no reset passes a partition
        except OSError as error:
            self._complain("a connection failed", error)
        finally:
            if not joined:
                reset_on_close(caller)
                caller.close()
                if callee is not None:
                    callee.close()

    async def _reaches(self, callee: socket.socket) -> bool:
        _prepare(callee)
        try:
            await self._loop.sock_connect(callee, self._link.to)
        except OSError:
            return False
        return True

    async def _join(self, caller: socket.socket, callee: socket.socket, doom: int | None) -> None:
        connection = Connection((caller, self._there), (callee, self._back), self._forget)
        connection.caller.doomed, connection.callee.doomed = doom == 1, doom == 2
        self._connections[connection] = None
        try:
            for sock in (caller, callee):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.create_connection(lambda: connection.callee, sock=callee)
            await self._loop.connect_accepted_socket(lambda: connection.caller, caller)
        except BaseException:
            connection.reset()
            self._forget(connection)
            raise
        connection.join()

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def _complain(self, what: str, error: OSError) -> None:
        """Say it the first time."""
        text = f"link {self._link.name}: {what}: {error.strerror or error}\n"
        if text not in self._said:
            self._said.add(text)
            sys.stderr.write(text)
