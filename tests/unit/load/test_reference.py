"""Whatever is streamed, however it is cut: a slow and plain reader counts and times the same."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import STREAM_HEAD, chunk

from faultload.load.plan import WorkerPlan
from faultload.load.worker import ledger as ledger_module
from faultload.load.worker.client import Client, Due, Exchange
from faultload.load.worker.response import ProtocolError
from faultload.record import RequestStatus
from faultload.spec.scenario import Timeouts

PLAN = WorkerPlan(
    worker=0,
    workers=1,
    trace=Path("none"),
    base_url="http://127.0.0.1:1",
    timeouts=Timeouts(gap_s=86400.0, first_token_s=86400.0, total_s=86400.0),
    ignore_eos=True,
    out=Path("none"),
    parent_pid=0,
)
DUE = Due(0, 0.0, "fast", "chat", "acme", "", "one", 1, 5)
CLOSED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
PROBE = "<another text>"


class Reader:
    """Reads the body of a stream event by event with `json`, and words with a dictionary."""

    def __init__(self) -> None:
        """Expect the first event."""
        self.times_s: list[float] = []
        self.garbled = False
        self.words: list[str] | None = None  # None: no ledger
        self._unended = ""

    def event(self, data: bytes, at_s: float) -> None:
        """Take one event."""
        try:
            message = json.loads(data.decode(), strict=True)
            choices = message["choices"]
            for choice in choices:
                delta = choice["delta"]
                self._text(delta.get("content") or delta.get("reasoning") or "", at_s)
        except (UnicodeDecodeError, json.JSONDecodeError):
            self.garbled = True

    def _text(self, text: str, at_s: float) -> None:
        if not text:
            return
        if not self.times_s and re.match("tok[0-9]{4,18}-[0-9a-f]{4} ", text):
            self.words = []
        if self.words is None:
            self.times_s.append(at_s)
            return
        *ended, self._unended = (self._unended + text).split(" ")
        self.words += ended
        self.times_s += [at_s] * len(ended)

    def counts(self) -> tuple[int, int, int, int, int] | None:
        """Return received, missing, doubled, reordered and foreign words; None: no ledger."""
        if self.words is None:
            return None
        words = [*self.words, self._unended] if self._unended else self.words
        tag, top = words[0][-4:], -1
        seen: set[int] = set()
        doubled = reordered = foreign = 0
        for word in words:
            found = re.fullmatch("tok([0-9]{4,18})-" + tag, word)
            index = int(found[1]) if found else -1
            if found is None or index > top + 1_000_000:
                foreign += 1
                continue
            doubled += index in seen
            reordered += index not in seen and index < top
            seen.add(index)
            top = max(top, index)
        return len(words), top + 1 - len(seen), doubled, reordered, foreign


def expected(
    blocks: list[tuple[bytes, bytes | None]], arrived: list[tuple[bytes, float]]
) -> Reader:
    """Read a body of blocks (all their bytes, the data if they have any) as it arrived."""
    reader, end, came, parts = Reader(), 0, 0, iter(arrived)
    at_s = 0.0
    for raw, data in blocks:
        end += len(raw)
        while came < end:
            part, at_s = next(parts)
            came += len(part)
        if data is not None and not reader.garbled:
            reader.event(data, at_s)
    return reader


def found(head: bytes, parts: list[tuple[bytes, float]]) -> tuple[Exchange, bool]:
    """Return an exchange that has taken a response, and whether it was garbled."""
    exchange = Exchange(Client(PLAN, lambda: 0.0, lambda row: None), DUE)
    exchange._take(head, 0.5)
    try:
        for part, at_s in parts:
            exchange._take(part, at_s)
    except ProtocolError:
        return exchange, True
    return exchange, False


def block(text: str, style: str) -> tuple[bytes, bytes | None]:
    """Return one block of a stream, as an engine or a proxy of some kind would write it."""
    choice: dict[str, Any] = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    message: dict[str, Any] = {"id": "x", "choices": [choice]}
    if style == "both":
        choice["delta"]["reasoning"] = "tok0001-3fa9 "
    if style == "first":
        message = {"choices": [choice], "id": PROBE}
    if style == "mirror":
        message["id"] = text
    if style == "two":
        message["choices"] = [choice, choice]
    if style == "stop":
        choice["finish_reason"] = "stop"
    data = json.dumps(message, ensure_ascii=style == "ascii").encode()
    if style == "half":
        data = data.replace("é".encode(), b"\xc3")
    if style == "raw":  # quotes, backslashes and control characters as they are
        data = data.replace(json.dumps(text, ensure_ascii=False).encode(), b'"%b"' % text.encode())
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return framed(data, style)


def framed(data: bytes, style: str) -> tuple[bytes, bytes | None]:
    """Return an event's bytes, and its data unless it is only a comment."""
    if style == "comment":
        return b": " + data + b"\n\n", None
    if style == "named":
        return b"event: message\ndata: " + data + b"\n\n", data
    if style == "tight":
        return b"data:" + data + b"\n\n", data
    return b"data: " + data + (b"\r\n\r\n" if style == "crlf" else b"\n\n"), data


ODD = ["both", "first", "mirror", "two", "stop", "ascii", "half", "raw", "comment", "named"]
STYLES = st.lists(st.sampled_from(["plain"] * 9 + [*ODD, "tight", "crlf"]), min_size=1, max_size=3)
WORDS = st.builds("tok{:04d}-{} ".format, st.integers(0, 9), st.sampled_from(["3fa9"] * 9 + ["0b"]))
ORDERED = st.integers(0, 12).map(lambda n: [f"tok{i:04d}-3fa9 " for i in range(n)])
PIECES = st.sampled_from(
    ["", "a", "é", "éé", '"', "\\", "\n", "\x7f", " ", "\u2028", PROBE, '"}', '\\"}}', "tok00"]
)
TEXTS = st.one_of(
    ORDERED,
    ORDERED.flatmap(lambda words: st.permutations([*words, "", ""])),
    st.lists(st.one_of(WORDS, PIECES), max_size=14),
    st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=14),
)


@st.composite
def bodies(draw: st.DrawFn) -> list[tuple[bytes, bytes | None]]:
    """Draw the blocks of a body: mostly alike, as streams are."""
    styles = draw(STYLES)
    texts = draw(TEXTS)
    order = draw(st.lists(st.integers(0, len(styles) - 1), min_size=1, max_size=6))
    return [block(text, styles[order[place % len(order)]]) for place, text in enumerate(texts)]


@settings(deadline=None, max_examples=400)
@given(bodies(), st.lists(st.integers(0, 5_000), max_size=12), st.booleans(), st.integers(2, 20))
def test_tokens_times_and_words_are_those_of_a_plain_reader(
    blocks: list[tuple[bytes, bytes | None]], places: list[int], chunked: bool, foretold_max: int
) -> None:
    """No token more, none less, each at the arrival that made its event whole."""
    body = b"".join(raw for raw, _ in blocks)
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    arrived = [(body[a:b], 1.0 + at) for at, (a, b) in enumerate(pairwise(edges))]
    wanted = expected(blocks, arrived)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_module, "_FORETOLD_MAX", foretold_max)
        frames = [(chunk(part), at_s) for part, at_s in arrived] if chunked else arrived
        exchange, garbled = found(STREAM_HEAD if chunked else CLOSED_HEAD, frames)
    answer = exchange._answer
    assert garbled == wanted.garbled
    assert list(answer._times_s) == wanted.times_s
    if not garbled:
        answer.outcome("over", orderly=True)
        row, counts = exchange.row(RequestStatus.CUT, ""), wanted.counts()
        names = ["output_tokens", "tokens_missing", "tokens_duplicated"]
        names += ["tokens_reordered", "tokens_foreign"]
        if counts is None:
            assert row["tokens_foreign"] is None
        else:
            assert tuple(row[name] for name in names) == counts
