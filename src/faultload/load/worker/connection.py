"""Connections to the endpoint, and the pool that keeps them alive."""

from __future__ import annotations

import ipaddress
import socket as names  # constants and address types; gevent's own module makes the sockets
import ssl as plain_ssl
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent import socket, ssl
from gevent.hub import Waiter

from faultload.load.plan import Endpoint
from faultload.record import RequestStatus

# More idle connections than this are closed: the pool must not eat the endpoint's descriptors.
_KEPT_MAX = 1024

_RECEIVE_BYTES = 65_536  # more than a TLS record: one read leaves nothing behind in the TLS layer
_SLICE_S = 0.0001
_READABLE = 1  # libev's EV_READ
_NOTHING_YET = (BlockingIOError, plain_ssl.SSLWantReadError)


class _Desk:
    """Work on what arrived, in slices, so that arrivals meanwhile are timed when they come."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._working = False
        self._timer = gevent.get_hub().loop.timer(0.0)

    def add(self, work: Callable[[], None]) -> None:
        """Do it once the event loop has looked at all connections."""
        self._waiting.append(work)
        if len(self._waiting) == 1 and not self._working:
            self._timer.start(self._work)

    def _work(self) -> None:
        until_s, self._working = time.monotonic() + _SLICE_S, True
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
    """One connection; blocking calls let other greenlets run and have no timeout of their own.

    A timeout per `recv` costs more than the `recv`: the client's watchdog ends what takes too long.
    """

    __slots__ = ("_desk", "reused", "sock")

    def __init__(self, sock: socket.socket, desk: _Desk) -> None:
        """Take over a connected socket."""
        self.sock, self._desk = sock, desk
        self.reused = False

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            OSError: the connection is broken.
        """
        self.sock.sendall(data)

    def receive(self) -> bytes:
        """Return what arrived; b"" at the end.

        Raises:
            OSError: the connection is broken.
        """
        data: bytes = self.sock.recv(_RECEIVE_BYTES)
        return data

    def listen(
        self, take: Callable[[bytes | OSError, float], bool], clock: Callable[[], float]
    ) -> bytes:
        """Hand over every arrival, with its time, until `take` returns True.

        Arrivals of all connections are read and timed in the event loop before any of them is
        handed over: no stream's time waits for the work on another's. `take` runs in the event
        loop too, so that a token costs no switch of greenlets: it must not block.

        Args:
            take: gets bytes, b"" at the end, or the error that broke the connection. What it raises
                is raised here.
            clock: tells the time of an arrival.

        Returns:
            What arrived after the last bytes that were taken.
        """
        waiter: Waiter[None] = Waiter()
        watcher = gevent.get_hub().loop.io(self.sock.fileno(), _READABLE)
        receive = self.sock.recv
        arrivals: list[tuple[bytes | OSError, float]] = []

        def on_readable() -> None:
            arrived: bytes | OSError
            try:
                arrived = receive(_RECEIVE_BYTES)
            except _NOTHING_YET:
                return
            except OSError as error:
                arrived = error
            arrivals.append((arrived, clock()))
            if not arrived or isinstance(arrived, OSError):
                watcher.stop()
            if len(arrivals) == 1:
                self._desk.add(hand_over)

        def hand_over() -> None:
            try:
                while arrivals:
                    if take(*arrivals.pop(0)):
                        watcher.stop()
                        waiter.switch(None)
                        return
            except Exception as error:  # noqa: BLE001 (it is raised where it can be handled)
                watcher.stop()
                waiter.throw(error)

        self.sock.settimeout(0.0)
        try:
            watcher.start(on_readable)
            waiter.get()
            return b"".join(data for data, _ in arrivals if isinstance(data, bytes))
        finally:
            arrivals.clear()
            watcher.stop()
            watcher.close()
            self.sock.settimeout(None)

    def is_stale(self) -> bool:
        """Tell whether an idle connection was closed, or spoken on, by the other side."""
        self.sock.settimeout(0.0)
        try:
            # TLS has no peeking. What an idle peer says there is a session ticket, which the TLS
            # layer takes to itself, or the end.
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.recv(1)
            else:
                self.sock.recv(1, names.MSG_PEEK)
        except _NOTHING_YET:
            return False
        except OSError:
            return True
        finally:
            self.sock.settimeout(None)
        return True

    def close(self) -> None:
        """Close; never fails, may be called again."""
        self.sock.close()


class Pool:
    """Kept connections, the last used first, so that surplus ones grow old and are dropped."""

    def __init__(self, endpoint: Endpoint, ca: Path | None = None) -> None:
        """Open nothing yet.

        Args:
            endpoint: where to connect.
            ca: authorities to trust for TLS; None: the system's, or those of SSL_CERT_FILE.

        Raises:
            OSError: the authorities cannot be read.
        """
        self._endpoint = endpoint
        self._kept: list[Connection] = []
        self._desk = _Desk()
        self._tls = _tls_context(ca) if endpoint.tls else None
        try:
            ipaddress.ip_address(endpoint.host)
            self._literal = True
        except ValueError:
            self._literal = False

    def take(self) -> Connection | None:
        """Return a kept connection that is still open, or None."""
        while self._kept:
            connection = self._kept.pop()
            if not connection.is_stale():
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
            sock = socket.socket(family, names.SOCK_STREAM)
            try:
                sock.setsockopt(names.IPPROTO_TCP, names.TCP_NODELAY, 1)
                sock.connect(address)
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, server_hostname=self._endpoint.host)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:  # the watchdog's interruption
                sock.close()
                raise
            else:
                return Connection(sock, self._desk)
        raise failure or OSError(f"{self._endpoint.host}: no address")

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


def _tls_context(ca: Path | None) -> Any:
    """Return a context that trusts whom a browser would, or only the authorities given."""
    context = ssl.SSLContext(plain_ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if ca is None:
        context.load_default_certs()  # reads SSL_CERT_FILE and SSL_CERT_DIR too
    else:
        context.load_verify_locations(cafile=str(ca))
    return context


def status_of(error: Exception) -> RequestStatus:
    """Return the status of a request that got no connection because of an error."""
    if isinstance(error, plain_ssl.SSLCertVerificationError):
        return RequestStatus.CERTIFICATE_ERROR
    if isinstance(error, ConnectionRefusedError):
        return RequestStatus.CONNECT_REFUSED
    if isinstance(error, ConnectionError | plain_ssl.SSLEOFError):
        return RequestStatus.CONNECT_RESET
    if isinstance(error, plain_ssl.SSLError):
        return RequestStatus.TLS_ERROR
    return RequestStatus.CONNECT_ERROR


def words_of(error: Exception) -> str:
    """Return an operating system error in its own words, without Python's."""
    if isinstance(error, plain_ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    if isinstance(error, plain_ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).lower()
