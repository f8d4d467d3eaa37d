"""One relayed connection: two sockets, and what each sends on its way to the other."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
import time
from collections.abc import Callable
from typing import cast

from inference_platform.local.links.document import Link
from inference_platform.local.links.path import End, Line, Path, Segment

UNDER_WAY_BYTES_MAX = 128 * 1024
"""Of one connection in one direction; at this, reading stops until something has arrived."""
UNSENT_BYTES_MAX = 64 * 1024
"""That the receiver does not take; at this, reading stops as well."""
_RESET = struct.pack("ii", 1, 0)  # linger for 0 s: close() sends RST


def reset_on_close(sock: socket.socket) -> None:
    """Have the kernel send RST, and forget what is unsent, when the socket is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def ceil_ms(seconds: float) -> float:
    """Round up: uvloop's timers count milliseconds and would round to the nearest."""
    return math.ceil(max(0.0, seconds) * 1000) / 1000


class Wire:
    """A path, and the timer that empties it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, link: Link, seed: str) -> None:
        """`seed` is for the jitter."""
        self._loop = loop
        self.path = Path(link, seed, time.monotonic())
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def put(self, line: Line, segment: Segment) -> None:
        """Send a segment on its way; it may arrive before this returns."""
        self.path.put(line, segment, time.monotonic())
        self.pump()

    def change(self, link: Link) -> None:
        """Take new conditions."""
        self.path.change(link, time.monotonic())
        self.pump()

    def pump(self) -> None:
        """Let arrive what has arrived, and come back for the rest."""
        for line, segment in self.path.take(time.monotonic()):
            line.arrive(segment)
        wake_at = self.path.wake_at()
        if wake_at is None or wake_at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wake_at
        self._timer = self._loop.call_later(ceil_ms(wake_at - time.monotonic()), self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self.pump()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()


class Side(asyncio.Protocol):
    """One end of a connection, the caller's or the callee's, and what it sends."""

    def __init__(self, connection: Connection, sock: socket.socket, wire: Wire) -> None:
        """`wire` takes what this side sends to the other."""
        self._connection = connection
        self._sock = sock
        self._wire = wire
        self.line = Line(self._arrive)
        self.peer: Side = self  # until Connection knows both
        self.transport: asyncio.Transport | None = None
        self.doomed = False
        """Whether the next bytes from here reset the connection instead of being passed on."""
        self.lost = False
        self.shut = False
        """Whether it was told that nothing more comes."""
        self._ended = False
        self.full = False
        self._reading = True
        self._early: list[Segment] | None = []
        self._direct: Callable[[bytes], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what is unsent; reading goes on at once, as uvloop does not let us stop it here."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(UNSENT_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self._direct is not None:
            self._direct(data)
        elif self.doomed:
            self._connection.reset()
        else:
            self._send(data)

    def eof_received(self) -> bool:
        """Pass it on; the other direction stays open."""
        self._ended = True
        self._send(End.FIN)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Reset the other side too, after what was sent before; all but a reset is our doing."""
        del exc
        self.lost = True
        self.peer.line.dead = True
        if not self._connection.over:
            self._send(End.RST)
        self.peer.refresh()
        self._connection.left()

    def _send(self, segment: Segment) -> None:
        if self._early is not None:
            self._early.append(segment)
        elif not self.line.dead:
            self._wire.put(self.line, segment)
            self.refresh()

    def join(self) -> None:
        """Pass on what came before the other side was there, and go on from here."""
        early, self._early = self._early or [], None
        for segment in early:
            self._send(segment)
        self.refresh()

    def pause_writing(self) -> None:
        """Stop reading there when too much is unsent here."""
        self.full = True
        self.peer.refresh()

    def resume_writing(self) -> None:
        """Go on."""
        self.full = False
        self.peer.refresh()

    def refresh(self) -> None:
        """Decide again whether to read from here, and whether bytes need go by the wire."""
        peer, transport, path = self.peer, self.transport, self._wire.path
        if transport is None or peer.transport is None or self._early is not None:
            return
        if transport.is_closing():
            return
        joined = not (peer.lost or self._connection.over)
        direct = joined and path.plain and not (self.doomed or self.line.under_way)
        self._direct = peer.transport.write if direct else None
        reading = joined and not (self._ended or peer.full or path.partitioned)
        reading = reading and self.line.under_way < UNDER_WAY_BYTES_MAX
        if reading != self._reading:
            self._reading = reading
            (transport.resume_reading if reading else transport.pause_reading)()

    def _arrive(self, segment: Segment) -> None:
        peer = self.peer
        if segment is End.RST:
            self._connection.reset()
        elif peer.transport is None or peer.transport.is_closing():
            self.line.dead = True  # its connection_lost comes in a moment
        elif segment is End.FIN:
            peer.shut = True
            if self.shut:
                self._connection.finish()
            else:
                peer.transport.write_eof()
        elif isinstance(segment, bytes):
            peer.transport.write(segment)
            self.refresh()

    def abort(self) -> None:
        """Send RST, after what the kernel can still take."""
        self.line.dead = True
        if self.transport is None or self.lost:
            return
        with contextlib.suppress(OSError):  # it is closed already
            reset_on_close(self._sock)
        self.transport.abort()


class Connection:
    """Two sides that know each other."""

    def __init__(
        self,
        caller: tuple[socket.socket, Wire],
        callee: tuple[socket.socket, Wire],
        on_end: Callable[[Connection], None],
    ) -> None:
        """Sockets that are connected, each with the wire for what it sends."""
        self.caller, self.callee = Side(self, *caller), Side(self, *callee)
        self.caller.peer, self.callee.peer = self.callee, self.caller
        self.over = False
        self._on_end = on_end

    def join(self) -> None:
        """Begin to pass on, now that both sides have a transport."""
        if self.over:
            self.reset()  # it was, when it had one side only
        else:
            self.caller.join()
            self.callee.join()

    def refresh(self) -> None:
        """Heed new conditions."""
        self.caller.refresh()
        self.callee.refresh()

    def spare(self) -> None:
        """Let nothing that was decided before reset it."""
        self.caller.doomed = self.callee.doomed = False
        self.refresh()

    def reset(self) -> None:
        """End it with RST to both."""
        self.over = True
        self.caller.abort()
        self.callee.abort()
        self.refresh()

    def finish(self) -> None:
        """End it after what is unsent: both were told that nothing more comes."""
        self.over = True
        self.refresh()
        for side in (self.caller, self.callee):
            if side.transport is not None:
                side.transport.close()

    def left(self) -> None:
        """Notice that one side has gone."""
        if self.caller.lost and self.callee.lost:
            self._on_end(self)
