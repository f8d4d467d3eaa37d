"""One question's way: understood, asked of the router with our key, its answer streamed back."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from inference_platform.chat.metrics import Metrics
from inference_platform.chat.questions import to_router
from inference_platform.chat.settings import Settings
from inference_platform.router.clients import ClientGone, read_body, while_client_stays
from inference_platform.router.endpoints import http_address
from inference_platform.router.entry import CLIENT_CLOSED
from inference_platform.router.events import EventGate, first_events, is_event_stream, pass_on
from inference_platform.router.replies import (
    Headers,
    Receive,
    Refused,
    Send,
    end_stream,
    send_refusal,
    too_long,
)
from inference_platform.router.upstream import (
    Connection,
    Pool,
    UpstreamError,
    UpstreamSilentError,
)

log = logging.getLogger(__name__)

# Of the router's replies that are no streams: errors, and the list of models.
_REPLY_BYTES_MAX = 256 * 1024
_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # nginx would otherwise hold tokens back until its buffer is full.
    (b"x-accel-buffering", b"no"),
]


class Router:
    """The router as the chat sees it; every request to it has the key."""

    def __init__(self, settings: Settings) -> None:
        """Must be made on the event loop that uses it; connects only when asked."""
        host, port = http_address(settings.router_url)
        self._settings = settings
        self._pool = Pool(host, port, settings.connect_timeout_s)
        self._head = b"host: %b\r\n" % urlsplit(settings.router_url).netloc.encode()
        if settings.api_key is not None:
            self._head += b"authorization: Bearer %b\r\n" % settings.api_key.encode()

    async def ask(self, body: bytes, session: str) -> tuple[Connection, bytes]:
        """Ask for an answer; the connection, to be released, and the first bytes of the reply.

        Raises UpstreamError.
        """
        message = (
            b"POST /v1/chat/completions HTTP/1.1\r\n%bcontent-type: application/json\r\n"
            b"accept: text/event-stream\r\nx-session-id: %b\r\ncontent-length: %d\r\n\r\n%b"
        ) % (self._head, session.encode(), len(body), body)
        return await self._pool.exchange(message, self._settings.first_byte_timeout_s)

    async def models(self) -> list[str]:
        """Names that a question may have as its model; raises Refused."""
        try:
            async with asyncio.timeout(self._settings.models_timeout_s):
                request = b"GET /v1/models HTTP/1.1\r\n%b\r\n" % self._head
                connection, data = await self._pool.exchange(
                    request, self._settings.models_timeout_s
                )
                try:
                    body = await self.rest(connection, data)
                finally:
                    self.release(connection)
        except (TimeoutError, UpstreamError) as error:
            log.warning("the router does not say its models: %s", str(error) or "no answer in time")
            raise Refused(
                503, "ServiceUnavailableError", "The platform cannot be reached.", retry=True
            ) from None
        try:
            if connection.status == 200:
                return [str(one["id"]) for one in orjson.loads(body)["data"]]
        except (ValueError, KeyError, TypeError):
            pass
        text = f"The platform did not say its models (status {connection.status})."
        raise Refused(502, "upstream_error", text)

    async def rest(self, connection: Connection, data: bytes) -> bytes:
        """All of a reply that is no stream, or as much as we read; raises UpstreamError."""
        body = data
        while data and len(body) <= _REPLY_BYTES_MAX:
            data = await connection.read(self._settings.idle_timeout_s)
            body += data
        return body

    def release(self, connection: Connection) -> None:
        """Give back a connection; one whose reply is not over is closed, which ends the request."""
        self._pool.release(connection)

    def close(self) -> None:
        """Let go of connections."""
        self._pool.retire()


@dataclass(slots=True)
class _Turn:
    """One question, and what has become of it so far."""

    session: str
    send: Send
    arrived_s: float
    """By time.monotonic()."""
    code: int = 0
    """HTTP status sent to the browser; 0 as long as nothing was."""
    outcome: str = "ok"
    retry_after: bytes = b""
    """What the platform said of it, in seconds."""


class ChatRelay:
    """ASGI application for POST /api/chat."""

    def __init__(self, settings: Settings, metrics: Metrics, router: Router) -> None:
        """Counts what it answers in `metrics`."""
        self._settings = settings
        self._metrics = metrics
        self._router = router
        self._streams = 0

    async def __call__(
        self, scope: Mapping[str, Any], receive: Receive, send: Send, session: str
    ) -> None:
        """Answer one question; every way out of here is counted once."""
        turn = _Turn(session, send, time.monotonic())
        self._streams += 1
        self._metrics.inflight.set(self._streams)
        try:
            body = await self._understand(scope, receive, turn)
            await while_client_stays(receive, self._answer(turn, body))
        except ClientGone:
            turn.outcome = "client_gone"
        except Refused as refused:
            await _refuse(turn, refused)
        except asyncio.CancelledError:
            await _stopping(turn)
        finally:
            self._streams -= 1
            self._metrics.inflight.set(self._streams)
        self._metrics.requests.labels(str(turn.code or CLIENT_CLOSED), turn.outcome).inc()

    async def _understand(self, scope: Mapping[str, Any], receive: Receive, turn: _Turn) -> bytes:
        if self._streams > self._settings.streams_max:
            turn.outcome = "busy"
            text = f"All {self._settings.streams_max} answers at a time are being given."
            raise Refused(503, "ServiceUnavailableError", text, retry=True)
        settings = self._settings
        raw = await read_body(receive, settings.body_bytes_max, settings.body_timeout_s)
        return to_router(scope, raw, settings)

    async def _answer(self, turn: _Turn, body: bytes) -> None:
        """Stream the answer, within `answer_timeout_s` whoever it is that waits.

        Raises Refused if there is none, with nothing sent.
        """
        allowed_s = self._settings.answer_timeout_s
        try:
            async with asyncio.timeout(allowed_s):
                await self._ask(turn, body)
        except TimeoutError:
            if not turn.code:
                raise too_long(allowed_s) from None
            await _cut(turn, too_long(allowed_s))

    async def _ask(self, turn: _Turn, body: bytes) -> None:
        gate = EventGate()
        try:
            connection, data = await self._router.ask(body, turn.session)
            try:
                if connection.status != 200 or not is_event_stream(connection.headers):
                    raise await self._no_answer(turn, connection, data)
                wait_s = self._settings.first_byte_timeout_s
                events = await first_events(connection, gate, data, wait_s)
                await self._stream(turn, connection, gate, events)
            finally:
                self._router.release(connection)
        except UpstreamSilentError:
            text = "The platform sent nothing in time."
            raise Refused(504, "upstream_timeout", text) from None
        except UpstreamError as error:
            log.warning("the router cannot be asked: %s", error)
            text = "The platform cannot be reached."
            raise Refused(503, "ServiceUnavailableError", text, retry=True) from None

    async def _stream(
        self, turn: _Turn, connection: Connection, gate: EventGate, events: bytes
    ) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS}
        await turn.send(start)
        turn.code = 200
        self._metrics.ttft.observe(time.monotonic() - turn.arrived_s)
        idle_s = self._settings.idle_timeout_s
        end = await pass_on(turn.send, connection, gate, events, idle_s, "router")
        if gate.failed or not gate.done:
            turn.outcome = "cut"
        await turn.send({"type": "http.response.body", "body": end, "more_body": False})

    async def _no_answer(self, turn: _Turn, connection: Connection, data: bytes) -> Refused:
        """What the router's reply means for the user; whatever it says, the key is not in it."""
        body = await self._router.rest(connection, data)
        status = connection.status
        if status in {401, 403}:
            log.error("the platform refused the chat's API key (status %d)", status)
            return Refused(502, "upstream_error", "The platform refused the chat's own key.")
        if status < 400:
            return Refused(502, "upstream_error", "The platform's answer is no stream.")
        after = dict(connection.headers).get(b"retry-after", b"")
        if after.isdigit():
            turn.retry_after = after
        try:
            text = str(orjson.loads(body)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            text = f"The platform answered {status}."
        if self._settings.api_key is not None:
            text = text.replace(self._settings.api_key, "***")
        return Refused(status, "upstream_error", text)


async def _refuse(turn: _Turn, refused: Refused) -> None:
    if turn.outcome == "ok":
        turn.outcome = "client_error" if refused.code < 500 else "upstream_error"
    turn.code = refused.code
    more: Headers = [(b"retry-after", turn.retry_after)] if turn.retry_after else []
    await send_refusal(turn.send, refused, more)


async def _stopping(turn: _Turn) -> None:
    """Tell the user that the drain ran out of time."""
    if turn.code:
        await _cut(turn, Refused(503, "chat_stopped", "chat stopped mid-stream"))
        return
    text = "The chat is stopping."
    await _refuse(turn, Refused(503, "ServiceUnavailableError", text, retry=True))


async def _cut(turn: _Turn, why: Refused) -> None:
    turn.outcome = "cut"
    await end_stream(turn.send, why)
