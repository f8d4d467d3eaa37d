"""Any answer, cut anywhere, has one outcome: that of the whole, every event parsed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import DONE, LAST_CHUNK, STREAM_HEAD, chunk, event, stream, token

from faultload.load.plan import WorkerPlan
from faultload.load.worker import answer as answer_module
from faultload.load.worker.answer import _PROBE as PROBE
from faultload.load.worker.answer import Answer, Ended
from faultload.load.worker.client import Client, Due, Exchange
from faultload.load.worker.connection import Connection, _Desk
from faultload.load.worker.response import ProtocolError
from faultload.record import RequestStatus
from faultload.spec.scenario import Timeouts

PLAN = WorkerPlan(
    worker=0,
    workers=1,
    trace=Path("none"),
    base_url="http://127.0.0.1:1",
    timeouts=Timeouts(),
    ignore_eos=True,
    out=Path("none"),
    parent_pid=0,
)
DUE = Due(0, 0.0, "fast", "chat", "acme", "", "one", 1, 5)


def outcome(parts: list[bytes]) -> dict[str, Any]:
    """Return the row of an answer that arrives in parts, without its error text."""
    exchange = Exchange(Client(PLAN, lambda: 1.0, lambda row: None), DUE)
    status = RequestStatus.UNFINISHED
    try:
        for part in [*parts, b""]:
            if exchange._take(part, 1.0):
                status = (exchange._ending or [RequestStatus.UNSENT])[0]
                break
    except Ended as ended:
        status = ended.status
    except ProtocolError:
        status = RequestStatus.GARBLED
    row = exchange.row(status, "")
    return {name: value for name, value in row.items() if name != "end_s"}


def parsed(data: bytes) -> dict[str, Any]:
    """Return the outcome with every event parsed: no guess at any shape."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_module, "_TEMPLATES_MAX", 0)
        return outcome([data])


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Cut bytes at arbitrary places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[a:b] for a, b in pairwise(edges)]


def plain_event(text: str, finish: str | None, style: str) -> bytes:
    """Return a token's event as one of several engines would write it."""
    message: dict[str, Any] = {
        "id": "x" if style != "mirror" else text,
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}],
    }
    if style == "ascii":
        return b"data: " + json.dumps(message).encode() + b"\n\n"
    if style == "thought":
        message["choices"][0]["delta"] = {"content": "", "reasoning": text}
    if style == "two":
        message["choices"].append({"delta": {"content": text}})
    newline = b"\r\n\r\n" if style == "crlf" else b"\n\n"
    return b"data: " + orjson.dumps(message) + newline


WORDS = st.builds(
    "tok{:04d}-{} ".format, st.integers(0, 6), st.sampled_from(["3fa9"] * 5 + ["0bad"])
)
IN_ORDER = st.integers(0, 9).map(lambda n: [f"tok{i:04d}-3fa9 " for i in range(n)])
TEXTS = st.one_of(
    IN_ORDER,
    st.lists(WORDS, max_size=8),
    st.lists(
        st.one_of(
            st.text(max_size=6), st.sampled_from(["é", '"', "\\", "\n", "😀 ", "a", ",", ":"])
        )
    ),
)
PLACES = st.lists(st.integers(0, 9_999), max_size=30)
STYLES = st.sampled_from(["plain"] * 4 + ["ascii", "mirror", "thought", "two", "crlf"])
ENDS = st.sampled_from(["length", "stop", "abort", ""])


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Draw a streamed response: whole, unusual, or damaged."""
    styles = draw(st.lists(STYLES, min_size=1, max_size=2))
    events = [
        plain_event(text, None, styles[place % len(styles)])
        for place, text in enumerate(draw(TEXTS))
    ]
    if end := draw(ENDS):
        events.append(plain_event(draw(st.sampled_from(["", "z"])), end, "plain"))
    if draw(st.booleans()):
        count = draw(st.integers(0, 9))
        events.append(event({"choices": [], "usage": {"completion_tokens": count}}))
    if draw(st.booleans()):
        events.append(DONE)
    if draw(st.booleans()):
        frames = [chunk(part) for part in events if part]
    else:
        frames = [chunk(part) for part in cut(b"".join(events), draw(PLACES)) if part]
    raw = STREAM_HEAD + b"".join(frames) + draw(st.sampled_from([LAST_CHUNK, b""]))
    if draw(st.booleans()) and draw(st.booleans()):
        at = draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + draw(st.binary(max_size=3)) + raw[at + draw(st.integers(0, 2)) :]
    return raw


@settings(deadline=None, max_examples=150)
@given(answers(), PLACES)
def test_no_cut_and_no_shortcut_changes_the_outcome(raw: bytes, places: list[int]) -> None:
    """Status, tokens, ledger and usage are those of the whole, with every event parsed."""
    assert outcome(cut(raw, places)) == outcome([raw]) == parsed(raw)


def test_every_byte_on_its_own_is_the_same_answer() -> None:
    """The finest cut there is, through characters, escapes, chunk sizes and line ends."""
    words = [token(text) for text in ("tök ", "😀", 'say "hi"\n', "a\\b")]
    raw = stream(*words, token("", "stop"), event({"choices": [], "usage": None}), DONE)
    row = outcome([raw[at : at + 1] for at in range(len(raw))])
    assert row == outcome([raw])
    assert (row["status"], row["output_tokens"]) == ("ok", 4)


@pytest.mark.parametrize(
    ("texts", "status", "counts"),
    [
        ([0, 1, 2], "ok", (0, 0, 0, 0)),
        ([0, 1, 1, 2], "wrong_tokens", (1, 0, 0, 0)),
        ([0, 2, 3], "wrong_tokens", (0, 1, 0, 0)),
        ([0, 2, 1, 3], "wrong_tokens", (0, 0, 1, 0)),
        ([1, 2], "wrong_tokens", (0, 1, 0, 0)),
        (["tok0000-3fa9 ", "tok0001-0bad "], "wrong_tokens", (0, 0, 0, 1)),
        (["tok0000-3fa9 ", "hello "], "wrong_tokens", (0, 0, 0, 1)),
        (["tok0000-3fa9 tok00", "01-3fa9 "], "ok", (0, 0, 0, 0)),
        (["tok0000-3fa9 ", "tok0001-3fa9"], "ok", (0, 0, 0, 0)),
        (["tok0000-3fa9 ", "tok999999999999-3fa9 "], "wrong_tokens", (0, 0, 0, 1)),
    ],
)
def test_the_text_proves_what_happened_to_its_tokens(
    texts: list[int | str], status: str, counts: tuple[int, int, int, int]
) -> None:
    """Doubled, missing, reordered and foreign words are told apart, and spoil a whole answer."""
    said = [text if isinstance(text, str) else f"tok{text:04d}-3fa9 " for text in texts]
    row = outcome([stream(*map(token, said), token("", "stop"), DONE)])
    names = ("tokens_duplicated", "tokens_missing", "tokens_reordered", "tokens_foreign")
    assert (row["status"], tuple(row[name] for name in names)) == (status, counts)


@pytest.mark.parametrize(
    ("usage", "finish", "text", "status"),
    [
        (2, "length", "tok{:04d}-3fa9 ", "ok"),
        (3, "length", "tok{:04d}-3fa9 ", "usage_mismatch"),
        (3, "stop", "tok{:04d}-3fa9 ", "ok"),  # the end of sequence has no text
        (4, "stop", "tok{:04d}-3fa9 ", "usage_mismatch"),
        (1, "stop", "tok{:04d}-3fa9 ", "usage_mismatch"),
        (9, "stop", "word{} ", "ok"),
    ],
)
def test_a_count_is_doubted_only_where_the_text_proves_another(
    usage: int, finish: str, text: str, status: str
) -> None:
    """Without indices a chunk may hold any number of tokens, so nothing is claimed."""
    count = event({"choices": [], "usage": {"completion_tokens": usage}})
    words = [token(text.format(index)) for index in range(2)]
    row = outcome([stream(*words, token("", finish), count, DONE)])
    assert (row["status"], row["usage_tokens"]) == (status, usage)


@pytest.mark.parametrize("text", [",", ":", "id", "content", "<another text>", "null"])
def test_a_text_that_looks_like_the_json_around_it_is_a_text(text: str) -> None:
    """What was learned about a chunk from such a text is proven, or not used."""
    raw = stream(token(text), token("b"), token(text), token("", "stop"), DONE)
    assert outcome([raw]) == parsed(raw)
    assert outcome([raw])["output_tokens"] == 3


def test_a_text_that_is_the_probe_itself_proves_nothing() -> None:
    """Where another field holds the same words, that field is not taken for the text."""
    said = [("x", "tok0000-3fa9 "), (PROBE, PROBE), ("tok0001-3fa9 ", PROBE)]
    events = [event({"id": name, "choices": [{"delta": {"content": text}}]}) for name, text in said]
    raw = stream(*events, token("", "stop"), DONE)
    assert outcome([raw]) == parsed(raw)


@pytest.mark.parametrize("count", ["-1", "1e30", "4294967296", "null", '"x"', "[]"])
def test_a_count_that_no_record_can_hold_is_garbled(count: str) -> None:
    """A row that cannot be written would take the whole record with it."""
    usage = b'data: {"choices":[],"usage":{"completion_tokens":%b}}\n\n' % count.encode()
    row = outcome([stream(token("a"), token("", "stop"), usage, DONE)])
    assert (row["status"], row["usage_tokens"], row["output_tokens"]) == ("garbled", None, 1)


def test_an_answer_ends_when_its_last_bytes_came() -> None:
    """Work that waited for a burst to pass is no part of the answer's latency."""
    exchange = Exchange(Client(PLAN, lambda: 99.0, lambda row: None), DUE)
    assert exchange._take(stream(token("a"), token("", "stop"), DONE), 16.0)
    assert exchange.row(RequestStatus.OK, "")["end_s"] == 16.0


def test_what_came_in_time_and_waits_for_its_turn_is_not_late() -> None:
    """A deadline is judged by when bytes came, and not by when they were worked on."""
    client = Client(PLAN, lambda: 99.0, lambda row: None)
    exchange = Exchange(client, DUE)
    ours, peer = gevent.socket.socketpair()
    exchange._connection = Connection(ours, _Desk(), lambda: 4.0)
    exchange.deadline_s = 5.0
    listening = gevent.spawn(exchange._connection.receive)
    peer.sendall(b"x")
    while not exchange._connection._arrivals:
        assert exchange.is_late(5.1)
        gevent.sleep(0)
    late = [exchange.is_late(5.1), exchange.is_late(4.9)]
    listening.join(10.0)
    assert (late, exchange.is_late(5.1)) == ([False, False], True)
    exchange._connection.close()
    peer.close()


def test_odd_texts_in_a_piece_do_not_have_it_searched_again_for_each() -> None:
    """A line end now and then, in many chunks that came at once, must not stall the loop."""
    words = ["a", "b", "c", *["plain"] * 50, "line\n", *["plain"] * 50]
    exchange = Exchange(Client(PLAN, lambda: 1.0, lambda row: None), DUE)
    seen: list[bytes] = []
    event_of = Answer.event

    def counted(answer: Answer, data: bytes, now_s: float) -> None:
        seen.append(data)
        event_of(answer, data, now_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Answer, "event", counted)
        exchange._take(STREAM_HEAD + chunk(b"".join(map(token, words))), 1.0)
    assert exchange._answer.tokens == len(words)
    assert len(seen) == 2  # the first, and the odd one


def test_half_a_character_is_not_made_whole_by_the_next_event() -> None:
    """Two events, each with half of a character, are garbled although their bytes join well."""
    whole = token("é")
    first, second = whole.replace("é".encode(), b"\xc3"), whole.replace("é".encode(), b"\xa9")
    raw = stream(token("a"), first, second, token("", "stop"), DONE)
    row = outcome([raw])
    assert (row["status"], row["output_tokens"]) == ("garbled", 1)


def test_every_tokens_time_is_kept() -> None:
    """The silences between tokens add up to the time between the first and the last."""
    exchange = Exchange(Client(PLAN, lambda: 99.0, lambda row: None), DUE)
    words = [chunk(token(f"tok{index:04d}-3fa9 ")) for index in range(5)]
    parts = (STREAM_HEAD + words[0], words[1], words[2] + words[3], words[4])
    for at_s, part in zip((1.0, 4.0, 9.0, 16.0), parts, strict=True):
        assert not exchange._take(part, at_s)
    row = exchange.row(RequestStatus.CUT, "")
    assert row["gaps_s"] == [3.0, 5.0, 0.0, 7.0]
    assert (row["first_token_s"], row["last_token_s"], row["gap_s_max"]) == (1.0, 16.0, 7.0)
