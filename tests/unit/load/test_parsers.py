"""Bytes to events: nothing may depend on how the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload.load.worker.response import ProtocolError, ResponseParser
from faultload.load.worker.sse import EventScanner

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

payloads = st.lists(
    st.text(st.characters(blacklist_characters="\r\n", codec="utf-8"), max_size=30),
    max_size=6,
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at arbitrary places."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


cuts_of = st.lists(st.integers(0, 10_000), max_size=25)


def read(parts: list[bytes]) -> tuple[ResponseParser, list[bytes]]:
    """Feed the parts; a refusal ends the list of events."""
    parser, scanner = ResponseParser(), EventScanner()
    events = []
    for part in parts:
        events += scanner.feed(parser.feed(part))
        if refused := _refused(parser):
            events.append(refused)
            break
    return parser, events


def _refused(parser: ResponseParser) -> bytes:
    try:
        parser.check()
    except ProtocolError as error:
        return str(error).encode()
    return b""


@settings(deadline=None)
@given(
    payloads,
    st.sampled_from(["chunked", "length", "close"]),
    st.sampled_from([b"\n", b"\r\n"]),
    cuts_of,
    cuts_of,
)
def test_any_split_gives_the_same_events(
    texts: list[str], framing: str, newline: bytes, chunks: list[int], splits: list[int]
) -> None:
    """Chunk borders and packet borders fall anywhere, in every framing, and change nothing."""
    body = b"".join(b"data: " + t.encode() + newline * 2 + b": ping" + newline * 2 for t in texts)
    if framing == "chunked":
        head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        frames = [b"%X;x=y\r\n%b\r\n" % (len(p), p) for p in pieces(body, chunks)]
        raw = head + b"".join(frames) + b"0\r\nTrailer: 1\r\n\r\n"
    elif framing == "length":
        raw = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        raw = HEAD + b"\r\n" + body
    parser, events = read(pieces(raw, splits))
    assert events == [text.encode() for text in texts]
    assert parser.complete == (framing != "close")
    assert parser.keep_alive == (framing != "close")


@given(
    st.one_of(st.binary(max_size=200), st.text("025af;\r\n d:", max_size=60).map(str.encode)),
    cuts_of,
)
def test_garbage_is_refused_alike_however_it_is_cut(data: bytes, splits: list[int]) -> None:
    """Foreign bytes give the same events and the same refusal, however they arrive."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data

    parser, events = read(pieces(raw, splits))
    whole, expected = read([raw])
    assert (events, parser.complete) == (expected, whole.complete)


@settings(deadline=None)
@given(st.text("ab:\r\n ", max_size=60), cuts_of)
def test_events_do_not_depend_on_line_ends_and_splits(text: str, splits: list[int]) -> None:
    """A body with LF, CRLF and CR line ends in any mixture reads as the standard says."""
    # A body ends in a line that is not a line end, so that no CR is left waiting for its LF.
    raw = b"data:" + text.encode() + b"\n\n:"
    scanner = EventScanner()
    events = [event for part in pieces(raw, splits) for event in scanner.feed(part)]
    expected, values = [], []
    for line in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
        elif not line and values:
            expected.append(b"\n".join(values))
            values = []
    assert events == expected


def test_fields_comments_and_byte_order_mark_are_not_data() -> None:
    """Only data lines make an event; several of them are joined by a line end."""
    raw = b"\xef\xbb\xbfdata:a\ndata: b\nid: 1\n\n: note\n\nevent: x\nretry: 3\n\ndata\n\n"
    assert EventScanner().feed(raw) == [b"a\nb", b""]


def test_an_event_without_its_blank_line_is_no_event() -> None:
    """A cut event must not be taken for a whole one."""
    assert EventScanner().feed(b'data: {"finish_reason":"stop"}\n') == []


def test_interim_responses_are_skipped_and_pipelined_bytes_end_the_connection() -> None:
    """100 Continue is not the answer; bytes after the answer mean that it cannot be trusted."""
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    parser = ResponseParser()
    assert parser.feed(raw) == b"ok"
    assert (parser.status, parser.complete, parser.keep_alive) == (200, True, True)
    parser.feed(b"HTTP/1.1 200 OK")
    assert not parser.keep_alive


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0", True),
        (b"HTTP/1.1 204 No Content", True),
    ],
)
def test_keep_alive_is_what_the_head_says(head: bytes, *, reusable: bool) -> None:
    """A connection is reused only where both version and Connection field allow it."""
    parser = ResponseParser()
    parser.feed(head + b"\r\n\r\n")
    assert parser.complete
    assert parser.keep_alive == reusable


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n",
    ],
)
def test_what_http_does_not_allow_is_refused(raw: bytes) -> None:
    """A malformed head or chunk is never guessed at."""
    with pytest.raises(ProtocolError):  # noqa: PT012 (the head raises at once, a chunk later)
        parser = ResponseParser()
        parser.feed(raw)
        parser.check()
