"""What a stream of events amounts to: tokens, their times, and how the answer ended."""

from __future__ import annotations

from typing import Any

import orjson

from faultload.load.worker.response import ProtocolError
from faultload.record import RequestStatus

ERROR_TEXT_MAX = 200

# vLLM ends a request it gives up with one of these; the reader has half an answer.
_NOT_AN_END = {"abort": RequestStatus.CUT, "error": RequestStatus.ERROR_CHUNK}


class Ended(Exception):  # noqa: N818 (not always an error)
    """The request is over; carries its status and one line of explanation."""

    def __init__(self, status: RequestStatus, error: str) -> None:
        """Remember how it ended."""
        self.status, self.error = status, error
        super().__init__(status, error)


class Answer:
    """One answer, event by event.

    A chunk with no text, such as the one that only names the role, is not a token. Where the text
    itself carries token indices (`tok0017-3fa9 `, the simulator's way) tokens are counted by them,
    and repeats and gaps are seen; elsewhere each chunk with text is a token until the server's own
    count arrives.
    """

    __slots__ = (
        "_chunks",
        "_indices",
        "_marks",
        "_usage",
        "done",
        "finish_reason",
        "first_token_s",
        "gap_s_max",
        "last_token_s",
    )

    def __init__(self) -> None:
        """Expect the first event."""
        self.first_token_s: float | None = None
        self.last_token_s: float | None = None
        self.gap_s_max: float | None = None
        """None under two tokens."""
        self.finish_reason = ""
        self.done = False
        """`[DONE]` has come."""
        self._chunks = 0
        self._marks = 0
        self._indices: set[int] = set()
        self._usage: int | None = None

    def event(self, data: bytes, now_s: float) -> None:
        """Take one event.

        Raises:
            Ended: it is an error object.
            ProtocolError: it is not what the API allows.
        """
        if data == b"[DONE]":
            self.done = True
            return
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise ProtocolError(f"an event is not JSON: {shorten(data)!r}") from None
        try:
            if message.get("error") or message.get("object") == "error":
                raise Ended(RequestStatus.ERROR_CHUNK, describe_error(message))
            usage = message.get("usage")
            if usage is not None:
                self._usage = int(usage["completion_tokens"])
            for choice in message["choices"]:
                self._choice(choice, now_s)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise ProtocolError(f"an event of unknown shape: {shorten(data)!r}") from None

    def _choice(self, choice: dict[str, Any], now_s: float) -> None:
        delta = choice.get("delta")
        if delta is None:
            text = choice.get("text")
        else:
            # A reasoning model's thoughts arrive under a name of their own; its tokens count too.
            text = delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")
        if text:
            self._token(text, now_s)
        reason = choice.get("finish_reason")
        if reason:
            self.finish_reason = str(reason)

    def _token(self, text: str, now_s: float) -> None:
        self._chunks += 1
        if self.last_token_s is None:
            self.first_token_s = now_s
        elif self.gap_s_max is None or now_s - self.last_token_s > self.gap_s_max:
            self.gap_s_max = now_s - self.last_token_s
        self.last_token_s = now_s
        for word in text.split():
            if word.startswith("tok"):
                digits, dash, _ = word[3:].partition("-")
                if dash and digits.isdecimal():
                    self._marks += 1
                    self._indices.add(int(digits))

    @property
    def tokens(self) -> int:
        """Tokens received, repeats included."""
        if self._marks:
            return self._marks
        return self._usage if self._usage is not None and self._chunks else self._chunks

    @property
    def tokens_duplicated(self) -> int:
        """Tokens whose index came before; 0 where the text carries no index."""
        return self._marks - len(self._indices)

    @property
    def tokens_missing(self) -> int:
        """Indices skipped below the highest one received; 0 where the text carries no index."""
        return max(self._indices) + 1 - len(self._indices) if self._indices else 0

    def outcome(self, how: str, *, orderly: bool) -> tuple[RequestStatus, str]:
        """Say how the answer ended now that nothing more comes.

        Args:
            how: what the connection did, for the explanation.
            orderly: the body ended as its framing says, or `[DONE]` came.
        """
        reason = self.finish_reason
        if not self._chunks:
            if orderly or reason:
                return RequestStatus.NO_TOKEN, f"finish reason {reason!r} and no token"
            return RequestStatus.CUT, f"{how} before the first token"
        if reason in _NOT_AN_END:
            return _NOT_AN_END[reason], f"finish reason {reason!r} after {self.tokens} tokens"
        if not reason:
            return RequestStatus.CUT, f"{how} after {self.tokens} tokens without a finish reason"
        return RequestStatus.OK, ""


def describe_error(message: Any) -> str:
    """Return the one line a server's error object holds, however it is nested."""
    found = message.get("error", message) if isinstance(message, dict) else message
    if isinstance(found, dict):
        found = found.get("message") or found.get("type") or found.get("code") or found
    return shorten(str(found).encode())


def shorten(data: bytes) -> str:
    """Return the beginning of foreign text, on one line and fit to print."""
    return " ".join(data[:ERROR_TEXT_MAX].decode("utf-8", "replace").split())
