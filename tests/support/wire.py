"""What goes over the wire between a client and a scripted server, byte by byte."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

import orjson

BOUND_S = 10.0

Script = Callable[[socket.socket], None]


def read_request(connection: socket.socket) -> bytes:
    """Return one whole request; b"" when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def wait_for_close(connection: socket.socket) -> None:
    """Say nothing until the client goes away."""
    connection.settimeout(BOUND_S)
    while connection.recv(65536):
        pass


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\nX-Served-By: replica-2\r\nX-Router-Retries: 1\r\n"
    b"X-Router-Migrations: 2\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    """Frame one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(message: object) -> bytes:
    """Frame one server-sent event."""
    return b"data: " + orjson.dumps(message) + b"\n\n"


def token(text: str, finish_reason: str | None = None) -> bytes:
    """One event of a chat stream."""
    return event(
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}
    )


ROLE = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})


def stream(*events: bytes, end: bytes = LAST_CHUNK) -> bytes:
    """A whole streamed response, one chunk an event."""
    return STREAM_HEAD + b"".join(map(chunk, events)) + end


GOOD = stream(ROLE, token("tok0000-3fa9 "), token("tok0001-3fa9 ", "length"), DONE)


def say(reply: bytes, *, then_close: bool = True) -> Script:
    """Answer a request, then close or wait for the client to do so."""

    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply)
        if not then_close:
            wait_for_close(connection)

    return script


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def say_and_reset(reply: bytes) -> Script:
    """Answer a request, then break the connection."""

    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply)
        threading.Event().wait(0.05)  # RST must not overtake the reply
        reset(connection)

    return script


def answer_forever(connection: socket.socket) -> None:
    """Give the good answer to every request on the connection."""
    while read_request(connection):
        connection.sendall(GOOD)
