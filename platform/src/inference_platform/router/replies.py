"""What the router itself says: errors in vLLM's shape, as JSON bodies and as stream events."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]

DONE = b"data: [DONE]"
# Who does not read its answer cannot be told for long that it is over.
LAST_WORDS_S = 1.0


class Refused(Exception):  # noqa: N818 (an answer to the client, not a failure of ours)
    """The request cannot be served; carries the reply in vLLM's error shape."""

    def __init__(
        self, code: int, kind: str, message: str, param: str | None = None, *, retry: bool = False
    ) -> None:
        """`kind` is the error's `type`; `param` the field of the request that is to blame."""
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.param = param
        self.retry = retry
        """Whether the client should ask again in a second."""

    def body(self) -> bytes:
        """The JSON body."""
        return error_json(str(self), self.kind, self.code, self.param)


def too_long(allowed_s: float) -> Refused:
    """What is said of an answer that takes longer than the `allowed_s` it has as a whole."""
    text = f"the answer took longer than {allowed_s:g} s as a whole: ask for fewer tokens"
    return Refused(504, "answer_timeout", text)


def error_json(message: str, kind: str, code: int, param: str | None = None) -> bytes:
    """One error object, compact as vLLM writes it."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return orjson.dumps({"error": error})


def last_words(message: str, kind: str, code: int = 502) -> bytes:
    """How a stream ends that cannot go on: an error event, then [DONE]."""
    return b"data: " + error_json(message, kind, code) + b"\n\n" + DONE + b"\n\n"


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a complete reply; `headers` without a content-length."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_refusal(send: Send, refused: Refused, headers: Headers) -> None:
    """Send an error reply; given up after LAST_WORDS_S where the client does not take it."""
    headers = [*headers, (b"content-type", b"application/json")]
    if refused.retry:
        headers.append((b"retry-after", b"1"))
    await _briefly(send_whole(send, refused.code, headers, refused.body()))


async def end_stream(send: Send, why: Refused) -> None:
    """Cut a stream that has begun, its last event being `why`; given up like a refusal."""
    words = last_words(str(why), why.kind, why.code)
    await _briefly(send({"type": "http.response.body", "body": words, "more_body": False}))


async def _briefly(sending: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORDS_S):
            await sending
