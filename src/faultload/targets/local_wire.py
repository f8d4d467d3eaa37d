"""Asking something of a process on loopback, as small as can be, and how long the answer takes."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

from faultload.targets.network_acts import ANSWER_S

Address = tuple[str, int]


def ask(address: Address, extra_bytes: int = 0, *, redis: bool = False) -> float:
    """Ask on a connection of its own; return how long its first byte took to come, s.

    A server has to read `extra_bytes` of padding before it can answer: an HTTP header, which it
    ignores, or the text of a PING.

    Raises:
        ConnectionRefusedError: nobody listens.
        ConnectionError: it was reset, or closed without an answer.
        TimeoutError: not within `ANSWER_S`.
    """
    begin = time.monotonic()
    padding = b"x" * extra_bytes
    asked = (
        b"*2\r\n$4\r\nPING\r\n$%d\r\n%b\r\n" % (extra_bytes, padding)
        if redis
        else b"GET /health HTTP/1.1\r\nHost: local\r\nConnection: close\r\nX-Padding: %b\r\n\r\n"
        % padding
    )
    with socket.create_connection(address, ANSWER_S) as connection:
        connection.sendall(asked)
        left_s = begin + ANSWER_S - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        if not connection.recv(1):
            raise ConnectionResetError("closed without an answer")
    return time.monotonic() - begin


def is_refused(url: str) -> bool:
    """Say whether nobody listens where a URL points to."""
    where = urlsplit(url)
    try:
        socket.create_connection((str(where.hostname), int(where.port or 0)), ANSWER_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
