"""What a stream of events amounts to: tokens, their times, and how the answer ended."""

from __future__ import annotations

from array import array
from itertools import takewhile
from typing import Any

import numpy as np
import orjson

from faultload.load.worker.ledger import Ledger
from faultload.load.worker.response import ProtocolError
from faultload.record import RequestStatus

ERROR_TEXT_MAX = 200

# vLLM ends a request it gives up with one of these; the reader has half an answer.
_NOT_AN_END = {"abort": RequestStatus.ABORTED, "error": RequestStatus.ERROR_CHUNK}

# An engine whose chunks differ in more than their text is read chunk by chunk.
_TEMPLATES_MAX = 3
_PROBE = "<another text>"

_COUNT_MAX = 2**31 - 1  # the record's column


class Ended(Exception):  # noqa: N818 (not always an error)
    """The request is over; carries its status and one line of explanation."""

    def __init__(self, status: RequestStatus, error: str) -> None:
        """Remember how it ended."""
        self.status, self.error = status, error
        super().__init__(status, error)


class Answer:
    """One answer, event by event.

    A chunk with no text, such as the one that only names the role, is not a token. Where the text
    carries token indices, tokens are counted by its `Ledger`; elsewhere each chunk with text is a
    token until the server's own count arrives.

    Most chunks of a stream differ from the one before in nothing but their text. Once a chunk was
    parsed, and a second parse has proven that a part of it is the text and nothing else, the next
    chunk with the same bytes around plain text needs no parse: its meaning follows. With a ledger
    the whole next chunk is known before it comes. Every other chunk is parsed.
    """

    __slots__ = (
        "_around",
        "_expected",
        "_ledger",
        "_templates",
        "_times_s",
        "done",
        "finish_reason",
        "usage_tokens",
    )

    def __init__(self) -> None:
        """Expect the first event."""
        self.finish_reason = ""
        self.done = False
        """`[DONE]` has come."""
        self.usage_tokens: int | None = None
        """Completion tokens as the server counts them; None until it says."""
        self._times_s = array("d")  # of every token
        self._ledger: Ledger | None = None
        self._around = (b"", b"")  # what stands before and behind the text of an event, if learned
        self._expected: bytes | None = None  # the next event, if the ledger knows it
        self._templates = 0

    def foreseen(self, body: bytes, now_s: float) -> bytes:
        """Take the events at the beginning of `body` that differ in nothing but a plain text.

        Only where the piece before ended in a whole event.

        Returns:
            What was not taken: all of it, if a parser should look.
        """
        if body == self._expected and self._ledger is not None:
            self._times_s.append(now_s)
            self._ledger.advance()
            self._foresee()
            return b""
        before, behind = self._around
        if not before or not body.startswith(before):
            return body
        at = len(before)
        end = body.find(behind, at)
        if (
            end <= at or b"\\" in body[at:end]
        ):  # no whole chunk, none with text, or none to split at
            return body
        *texts, last = body[at:].split(behind + before)
        text, whole, rest = last.partition(behind)
        if whole:
            texts.append(text)
        else:
            rest = before + last
        ledger = self._ledger
        if (
            ledger is not None
            and ledger.is_between_words
            and b"" not in texts  # a chunk without text is no token
            and b"".join(texts) == ledger.foretold(len(texts))
        ):
            self._times_s.extend([now_s] * len(texts))
            ledger.advance(len(texts))
            self._foresee()
            return rest
        # Joined by spaces: half a character must not be made whole by the half in the next event.
        if b"" in texts or not _is_plain(b" ".join(texts)):
            texts = [*takewhile(lambda text: text and _is_plain(text), texts)]
            if not texts:
                return body
            rest = body[sum(map(len, texts)) + len(texts) * len(before + behind) :]
        if ledger is None:
            self._times_s.extend([now_s] * len(texts))
        else:
            self._enter(b"".join(texts).decode(), now_s)
        return rest

    @property
    def may_foresee(self) -> bool:
        """An event that is parsed may teach how to read those behind it."""
        return self._templates < _TEMPLATES_MAX or self._around[0] != b""

    def event(self, data: bytes, now_s: float) -> None:
        """Take one event.

        Raises:
            Ended: it is an error object.
            ProtocolError: it is not what the API allows.
        """
        if data == b"[DONE]":
            self.done = True
            return
        message = _parsed(data)
        try:
            if message.get("error") or message.get("object") == "error":
                raise Ended(RequestStatus.ERROR_CHUNK, describe_error(message))
            usage = message.get("usage")
            if usage is not None:
                self.usage_tokens = _count_of(usage["completion_tokens"])
            choices = message["choices"]
            for choice in choices:
                self._choice(choice, now_s)
            if usage is None and len(choices) == 1 and self._templates < _TEMPLATES_MAX:
                self._learn(data, message)
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
        if not self._times_s:
            self._ledger = Ledger.of(text)
        if self._ledger is None:
            self._times_s.append(now_s)
        else:
            self._enter(text, now_s)

    def _enter(self, text: str, now_s: float) -> None:
        """Enter text into the ledger."""
        assert self._ledger is not None  # noqa: S101 (for the type checker)
        self._times_s.extend([now_s] * self._ledger.take(text))
        self._foresee()

    def _foresee(self) -> None:
        """Write down the event that brings the next word."""
        self._expected = None
        before, behind = self._around
        if before and self._ledger is not None and self._ledger.is_between_words:
            word = self._ledger.foretold(1)
            self._expected = before + word + behind if word else None

    def _learn(self, data: bytes, message: dict[str, Any]) -> None:
        """Remember what stands around the text of a chunk that says nothing but its text."""
        choice = message["choices"][0]
        delta = choice.get("delta") or {}
        text = delta.get("content")
        if choice.get("finish_reason") or not isinstance(text, str) or text in ("", _PROBE):
            return
        self._templates += 1
        literal = b'"%b"' % text.encode()
        before, found, behind = data.partition(literal)
        if not found:
            return
        before, behind = before + b'"', b'"' + behind
        delta["content"] = _PROBE
        try:
            same = orjson.loads(before + _PROBE.encode() + behind) == message
        except orjson.JSONDecodeError:  # a text that looks like the JSON around it, such as `,`
            return
        if same and b"\n" not in data and b"\r" not in data:
            self._around = b"data: " + before, behind + b"\n\n"
            self._foresee()

    @property
    def first_token_s(self) -> float | None:
        """None: no token came."""
        return self._times_s[0] if self._times_s else None

    @property
    def last_token_s(self) -> float | None:
        """None: no token came."""
        return self._times_s[-1] if self._times_s else None

    def gaps_s(self) -> list[float]:
        """Return the silence before each token but the first, to the microsecond."""
        times_s = np.array(self._times_s)
        gaps: list[float] = (times_s[1:] - times_s[:-1]).round(6).tolist()
        return gaps

    @property
    def tokens(self) -> int:
        """Tokens received, repeats included."""
        if self._ledger is not None:
            return self._ledger.received
        return self.usage_tokens if self.usage_tokens and self._times_s else len(self._times_s)

    @property
    def ledger(self) -> Ledger | None:
        """None where the text carries no index."""
        return self._ledger

    def outcome(self, how: str, *, orderly: bool) -> tuple[RequestStatus, str]:
        """Say how the answer ended now that nothing more comes.

        Args:
            how: what the connection did, for the explanation.
            orderly: the body ended as its framing says, or `[DONE]` came.
        """
        reason = self.finish_reason
        if self._ledger is not None:
            self._ledger.close()
        if reason in _NOT_AN_END:
            return _NOT_AN_END[reason], f"finish reason {reason!r} after {self.tokens} tokens"
        if not self._times_s and (orderly or reason):
            return RequestStatus.NO_TOKEN, f"finish reason {reason!r} and no token"
        if not reason:
            when = f"after {self.tokens} tokens without a finish reason"
            when = when if self._times_s else "before the first token"
            return RequestStatus.CUT, f"{how} {when}"
        if not orderly:
            return RequestStatus.CUT_AT_END, f"{how} between the finish reason and [DONE]"
        return self._proven_wrong() or (RequestStatus.OK, "")

    def _proven_wrong(self) -> tuple[RequestStatus, str] | None:
        """Say what the ledger of a whole answer proves to be wrong with it."""
        if self._ledger is None:
            return None
        if faults := self._ledger.faults():
            return RequestStatus.WRONG_TOKENS, faults
        # The end of sequence counts as a token and has no text.
        silent = (0, 1) if self.finish_reason == "stop" else (0,)
        came, counted = self._ledger.whole, self.usage_tokens
        if counted is None or counted - came in silent:
            return None
        return RequestStatus.USAGE_MISMATCH, f"{came} tokens came and the server counted {counted}"


def _count_of(said: Any) -> int:
    """Return a server's count of tokens.

    Raises:
        TypeError, ValueError: it is no such count, or more than a record can hold.
    """
    count = int(said)
    if not 0 <= count <= _COUNT_MAX:
        raise ValueError(said)
    return count


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        data.decode()
    except UnicodeDecodeError as error:
        what = f"an event is not UTF-8 (byte {error.start}): {shorten(data)!r}"
        raise ProtocolError(what) from None
    raise ProtocolError(f"an event is not JSON: {shorten(data)!r}")


def _is_plain(literal: bytes) -> bool:
    """Tell whether what is between the quotes of a JSON string stands for itself.

    It does where it is valid UTF-8 without quotes, backslashes and control characters.
    """
    if b'"' in literal or b"\\" in literal:
        return False
    try:
        return literal.decode().isprintable()
    except UnicodeDecodeError:
        return False


def describe_error(message: Any) -> str:
    """Return the one line a server's error object holds, however it is nested."""
    found = message.get("error", message) if isinstance(message, dict) else message
    if isinstance(found, dict):
        found = found.get("message") or found.get("type") or found.get("code") or found
    return shorten(str(found).encode())


def shorten(data: bytes) -> str:
    """Return the beginning of foreign text, on one line and fit to print."""
    return " ".join(data[:ERROR_TEXT_MAX].decode("utf-8", "replace").split())
