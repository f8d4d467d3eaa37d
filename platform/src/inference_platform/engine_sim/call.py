"""One HTTP request over ASGI, and the answer to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WRITE_NOW = "engine_sim.write_now"  # what `listen.Protocol` puts into a scope's state

_VARY = (b"vary", b"Origin")
JSON = (b"content-type", b"application/json")
_STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), _VARY]
_STREAM_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": _STREAM_HEADERS,
}


class Call:
    """One HTTP request and what was answered, for the handlers and for the metrics."""

    __slots__ = (
        "_send",
        "added",
        "headers",
        "method",
        "path",
        "query",
        "receive",
        "response_bytes",
        "status",
        "write_now",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the request apart."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.receive = receive
        self._send = send
        # Sends events of a stream that has begun, without waiting; False when nothing was sent.
        self.write_now: Callable[[bytes], bool] = scope["state"][WRITE_NOW]
        self.added: list[tuple[bytes, bytes]] = []  # headers that every answer gets
        self.status = 0
        self.response_bytes = 0

    def header(self, name: bytes) -> str:
        """Return a request header, "" when it is not there."""
        return self.headers.get(name, b"").decode("latin-1")

    async def body(self) -> bytes | None:
        """Return the whole request body, None when the client left meanwhile."""
        parts = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(parts)

    async def gone(self) -> None:
        """Wait until the client has left or the answer is complete."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def answer(
        self, status: int, body: bytes = b"", *headers: tuple[bytes, bytes], vary: bool = True
    ) -> None:
        """Send a whole answer."""
        self.status = status
        self.response_bytes = len(body)
        fields = [(b"content-length", b"%d" % len(body)), *headers]
        if vary:
            fields.append(_VARY)
        fields += self.added
        start = {"type": "http.response.start", "status": status, "headers": fields}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    async def answer_json(self, status: int, value: object, *headers: tuple[bytes, bytes]) -> None:
        """Send a whole JSON answer."""
        await self.answer(status, orjson.dumps(value), JSON, *headers)

    async def start_stream(self) -> None:
        """Send the head of an event stream."""
        self.status = 200
        start = _STREAM_START
        if self.added:
            start = {**start, "headers": [*_STREAM_HEADERS, *self.added]}
        await self._send(start)

    async def send_events(self, events: bytes, *, more: bool = True) -> None:
        """Send one or more server-sent events."""
        await self._send({"type": "http.response.body", "body": events, "more_body": more})
