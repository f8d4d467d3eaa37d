"""Connections to the endpoint, and the pool that keeps them alive."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket as names  # constants and address types; gevent's own module makes the sockets
import ssl
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent import socket
from gevent.hub import Waiter
from gevent.socket import wait_write

from faultload.load.plan import Endpoint
from faultload.load.worker.tls import Tls, context_of
from faultload.record import RequestStatus

# More idle connections than this are closed: the pool must not eat the endpoint's descriptors.
_KEPT_MAX = 1024

_RECEIVE_BYTES = 65_536
_SLICE_S = 0.0001
_HOLD_S = 0.003  # a batch of 256 tokens takes an engine about as long to write
_READABLE = 1  # libev's EV_READ
_EXHAUSTED = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
_UNHEARD_MAX = 16  # arrivals that are read while nobody listens; the rest waits with the peer


class _Desk:
    """Work on what arrived, when no more arrives and in slices, so that arrivals are timed at once.

    While they keep coming, as the tokens of one engine step do, work waits: once, and not for long.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._working = self._busy = False
        self._since_s = 0.0  # since when there is work
        self._timer = gevent.get_hub().loop.timer(0.0)

    def add(self, work: Callable[[], None]) -> None:
        """Do it once the event loop has looked at all connections."""
        self._waiting.append(work)
        self._busy = True
        if len(self._waiting) == 1 and not self._working:
            self._since_s = time.monotonic()
            self._timer.start(self._work)

    def _work(self) -> None:
        now_s = time.monotonic()
        if self._busy and now_s - self._since_s < _HOLD_S:
            self._busy = False
            self._timer.start(self._work)
            return
        until_s, self._working = now_s + _SLICE_S, True
        try:
            while self._waiting:
                self._waiting.popleft()()
                if time.monotonic() > until_s:
                    break
        finally:
            self._working = False
            if self._waiting:
                self._timer.start(self._work)


class Connection:
    """One connection, watched from its first byte to its last; nothing here has a timeout.

    A timeout per read costs more than the read: the client's watchdog ends what takes too long.
    Arrivals of all connections are read and timed in the event loop, before any of them is worked
    on: no stream's time waits for the work on another's.
    """

    __slots__ = (
        "_arrivals",
        "_clock",
        "_desk",
        "_sock",
        "_take",
        "_tls",
        "_waiter",
        "_watcher",
        "reused",
    )

    def __init__(
        self, sock: socket.socket, desk: _Desk, clock: Callable[[], float], tls: Tls | None = None
    ) -> None:
        """Take over a connected socket; with TLS, `shake_hands` comes next."""
        sock.settimeout(0.0)
        self._sock, self._desk, self._clock, self._tls = sock, desk, clock, tls
        self.reused = False
        self._arrivals: list[tuple[bytes | OSError, float]] = []
        self._take: Callable[[bytes | OSError, float], bool] | None = None
        self._waiter: Waiter[None] | None = None
        self._watcher = gevent.get_hub().loop.io(sock.fileno(), _READABLE)
        self._watcher.start(self._read)

    def shake_hands(self) -> None:
        """Agree on TLS.

        Raises:
            OSError: the connection broke, or there is no agreement.
        """
        assert self._tls is not None  # noqa: S101 (for the type checker)
        tls, self._tls = self._tls, None  # until it is done, what arrives is not decrypted
        arrived: bytes | None = None
        done = False
        while not done:
            try:
                done = tls.shake_hands(arrived)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self.send(tls.outgoing())  # the peer is told why
                raise
            self.send(tls.outgoing())
            arrived = None if done else self.receive()
        self._tls = tls
        # A peer that speaks at once has: it must not pass for an answer to what is asked later.
        early = [(None, self._clock()), *self._arrivals]
        self._arrivals = [
            (plain, at_s)
            for raw, at_s in early
            for plain in ([raw] if isinstance(raw, OSError) else tls.decrypt(raw))
        ]

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            OSError: the connection is broken.
        """
        if self._tls is not None:
            data = self._tls.encrypt(data)
        sent = self._send(data)
        while sent < len(data):
            wait_write(self._sock.fileno())
            sent += self._send(data[sent:])

    def _send(self, data: bytes) -> int:
        try:
            return int(self._sock.send(data))
        except BlockingIOError:
            return 0

    def listen(self, take: Callable[[bytes | OSError, float], bool]) -> None:
        """Hand over every arrival, with its time, until `take` returns True.

        `take` runs in the event loop, so that a token costs no switch of greenlets: it must not
        block.

        Args:
            take: gets bytes, b"" at the end, or the error that broke the connection. What it raises
                is raised here.
        """
        self._waiter, self._take = Waiter(), take
        if self._arrivals:
            self._desk.add(self._hand_over)
        if len(self._arrivals) >= _UNHEARD_MAX and not _is_end(self._arrivals[-1][0]):
            self._watcher.start(self._read)
        try:
            self._waiter.get()
        finally:
            self._take = None

    def receive(self) -> bytes:
        """Return what arrived next; b"" at the end.

        Raises:
            OSError: the connection is broken.
        """
        arrived: list[bytes | OSError] = []

        def take(data: bytes | OSError, _: float) -> bool:
            arrived.append(data)
            return True

        self.listen(take)
        if isinstance(arrived[0], OSError):
            raise arrived[0]
        return arrived[0]

    def _read(self) -> None:
        """Read and time what arrived."""
        arrived: list[bytes | OSError]
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
            arrived = [data] if self._tls is None else self._tls.decrypt(data)
        except BlockingIOError:
            return
        except OSError as error:
            arrived = [error]
        if not arrived:
            return
        if self._take is not None and not self._arrivals:
            self._desk.add(self._hand_over)
        now_s = self._clock()
        self._arrivals += [(one, now_s) for one in arrived]
        unheard = self._take is None and len(self._arrivals) >= _UNHEARD_MAX
        if unheard or _is_end(arrived[-1]):
            self._watcher.stop()

    def _hand_over(self) -> None:
        waiter, arrivals = self._waiter, self._arrivals
        assert waiter is not None  # noqa: S101 (for the type checker)
        try:
            while arrivals and self._take is not None:
                arrived, at_s = arrivals[0]
                if not _is_end(arrived):
                    del arrivals[0]  # the end stays: whoever listens later is told again
                if self._take(arrived, at_s):
                    self._take = None
                    waiter.switch(None)
                    return  # who listens now waits anew, and has asked the desk for the rest
        except Exception as error:  # noqa: BLE001 (it is raised where it can be handled)
            self._take = None
            waiter.throw(error)

    def has_news(self, before_s: float) -> bool:
        """Tell whether something came by then that is still to be handed to who listens."""
        return self._take is not None and bool(self._arrivals) and self._arrivals[0][1] <= before_s

    @property
    def is_stale(self) -> bool:
        """While nothing is asked: the other side has closed the connection, or spoken on it."""
        return bool(self._arrivals)

    def close(self) -> None:
        """Close; never fails, may be called again."""
        self._watcher.stop()
        self._watcher.close()
        self._arrivals.clear()
        self._sock.close()


def _is_end(arrived: bytes | OSError) -> bool:
    return not arrived or isinstance(arrived, OSError)


class Pool:
    """Kept connections, the last used first, so that surplus ones grow old and are dropped."""

    def __init__(
        self, endpoint: Endpoint, clock: Callable[[], float], ca: Path | None = None
    ) -> None:
        """Open nothing yet.

        Args:
            endpoint: where to connect.
            clock: tells the time of an arrival.
            ca: authorities to trust for TLS; None: the system's, or those of SSL_CERT_FILE.

        Raises:
            OSError: the authorities cannot be read.
        """
        self._endpoint, self._clock = endpoint, clock
        self._kept: list[Connection] = []
        self._desk = _Desk()
        self._tls = context_of(ca) if endpoint.tls else None
        try:
            ipaddress.ip_address(endpoint.host)
            self._literal = True
        except ValueError:
            self._literal = False

    def take(self) -> Connection | None:
        """Return a kept connection that is still open, or None."""
        while self._kept:
            connection = self._kept.pop()
            if not connection.is_stale:
                connection.reused = True
                return connection
            connection.close()
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose last response is complete."""
        if len(self._kept) < _KEPT_MAX:
            self._kept.append(connection)
        else:
            connection.close()

    def open(self) -> Connection:
        """Return a new connection, its TLS handshake done.

        Raises:
            OSError: refused, unreachable, the name did not resolve, or no TLS was agreed on.
        """
        failure: OSError | None = None
        for family, address in self._addresses():
            try:
                return self._connect(family, address)
            except OSError as error:
                failure = error
        raise failure or OSError(f"{self._endpoint.host}: no address")

    def _connect(self, family: int, address: Any) -> Connection:
        sock, connection = socket.socket(family, names.SOCK_STREAM), None
        try:
            sock.setsockopt(names.IPPROTO_TCP, names.TCP_NODELAY, 1)
            sock.connect(address)
            tls = Tls(self._tls, self._endpoint.host) if self._tls is not None else None
            connection = Connection(sock, self._desk, self._clock, tls)
            if tls is not None:
                connection.shake_hands()
        except BaseException:  # the watchdog's interruption too
            (connection or sock).close()
            raise
        return connection

    def _addresses(self) -> list[tuple[int, Any]]:
        """Resolve anew for every connection, as clients do, so that a broken DNS is felt."""
        host, port = self._endpoint.host, self._endpoint.port
        if self._literal:  # skips the resolver's thread
            return [(names.AF_INET6 if ":" in host else names.AF_INET, (host, port))]
        found = socket.getaddrinfo(host, port, type=names.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]

    def warm(self, count: int, within_s: float) -> None:
        """Open `count` connections and keep them.

        Raises:
            OSError: one could not be opened, or not all within `within_s`.
        """
        failures: list[OSError] = []

        def open_one() -> None:
            try:
                self.give(self.open())
            except OSError as error:
                failures.append(error)

        # The loop's clock stands still while nothing waits on it, and the trace took long to read:
        # a bound that counts from then would be over before it begins.
        gevent.get_hub().loop.update_now()
        opening = [gevent.spawn(open_one) for _ in range(count)]
        gevent.joinall(opening, timeout=within_s)
        if not all(greenlet.dead for greenlet in opening):
            gevent.killall(opening, block=False)
            failures.append(TimeoutError(f"no connection within {within_s:g} s"))
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Close every kept connection."""
        while self._kept:
            self._kept.pop().close()


def status_of(error: Exception) -> RequestStatus:
    """Return the status of a request that got no connection because of an error."""
    if is_ours(error):
        return RequestStatus.UNSENT
    if isinstance(error, ssl.SSLCertVerificationError):
        return RequestStatus.CERTIFICATE_ERROR
    if isinstance(error, ConnectionRefusedError):
        return RequestStatus.CONNECT_REFUSED
    if isinstance(error, ConnectionError | ssl.SSLEOFError):
        return RequestStatus.CONNECT_RESET
    if isinstance(error, ssl.SSLError):
        return RequestStatus.TLS_ERROR
    return RequestStatus.CONNECT_ERROR


def is_ours(error: Exception) -> bool:
    """Tell whether this machine had nothing left to connect with: not the endpoint's doing."""
    is_system = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
    return is_system and error.errno in _EXHAUSTED  # type: ignore[attr-defined]


def words_of(error: Exception) -> str:
    """Return an operating system error in its own words, without Python's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).lower()
