"""Connections to the endpoint, and the pool that keeps them alive."""

from __future__ import annotations

import ipaddress
import socket as names  # constants and address types; gevent's own module makes the sockets
from typing import Any

import gevent
from gevent import socket

from faultload.load.plan import Endpoint

# More idle connections than this are closed: the pool must not eat the endpoint's descriptors.
_KEPT_MAX = 1024


class Connection:
    """One TCP connection; blocking calls let other greenlets run and have no timeout of their own.

    A timeout per `recv` costs more than the `recv`: the client's watchdog ends what takes too long.
    """

    __slots__ = ("reused", "sock")

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected socket."""
        self.sock = sock
        self.reused = False

    def is_stale(self) -> bool:
        """Tell whether an idle connection was closed, or spoken on, by the other side."""
        self.sock.settimeout(0.0)
        try:
            self.sock.recv(1, names.MSG_PEEK)
        except BlockingIOError:
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

    def __init__(self, endpoint: Endpoint) -> None:
        """Open nothing yet."""
        self._endpoint = endpoint
        self._kept: list[Connection] = []
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
        """Return a new connection.

        Raises:
            OSError: refused, unreachable, or the name did not resolve.
        """
        failure: OSError | None = None
        for family, address in self._addresses():
            sock = socket.socket(family, names.SOCK_STREAM)
            try:
                sock.setsockopt(names.IPPROTO_TCP, names.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:  # the watchdog's interruption
                sock.close()
                raise
            else:
                return Connection(sock)
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
