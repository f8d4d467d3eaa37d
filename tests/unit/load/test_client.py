"""Every way a request can end has its own status, told from the bytes and the clock alone."""

from __future__ import annotations

import math
import socket
from typing import Any

import orjson
import pytest
from wire import (
    BOUND_S,
    DONE,
    GOOD,
    ROLE,
    STREAM_HEAD,
    answer_forever,
    chunk,
    event,
    read_request,
    say,
    say_and_reset,
    stream,
    token,
)

from faultload.load.plan import Endpoint
from faultload.load.worker.connection import Pool


def test_a_whole_answer_is_ok_and_its_row_is_complete(serve: Any, asker: Any) -> None:
    """Times are in order, tokens are counted, and the platform's headers land in the row."""
    row = asker(serve(say(GOOD)).url).ask()
    assert (row["status"], row["error"], row["http_status"]) == ("ok", "", 200)
    times = [row[k] for k in ("due_s", "sent_s", "first_token_s", "last_token_s", "end_s")]
    assert times == sorted(times)
    assert (row["index"], row["tier"], row["model"]) == (7, "fast", "chat-fast")
    assert (row["tenant"], row["session"], row["worker"]) == ("acme", "s1", 3)
    assert (row["prompt_tokens"], row["output_tokens_asked"], row["output_tokens"]) == (2, 5, 2)
    assert (row["finish_reason"], row["served_by"]) == ("length", "replica-2")
    assert (row["retries"], row["migrations"], row["connection_reused"]) == (1, 2, False)
    assert row["gap_s_max"] >= 0


def test_the_request_says_what_the_trace_asked_for(serve: Any, asker: Any) -> None:
    """Model, prompt, length, session, tenant and key travel as an OpenAI client would send them."""
    seen: list[bytes] = []

    def script(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(GOOD)

    asker(serve(script).url + "/base/v1", api_key="k-1").ask()
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /base/v1/chat/completions HTTP/1.1"
    wanted = {b"Authorization: Bearer k-1", b"X-Session-Id: s1", b"X-Tenant-Id: acme"}
    assert wanted <= set(lines)
    message = orjson.loads(body)
    assert message["messages"] == [{"role": "user", "content": "one two"}]
    assert (message["model"], message["max_tokens"]) == ("chat-fast", 5)
    assert (message["stream"], message["ignore_eos"]) == (True, True)


PLAIN_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
ERROR = {"error": {"message": "out of memory", "type": "InternalServerError", "code": 500}}
TWO = (token("tok0000-3fa9 "), token("tok0001-3fa9 "))
END = token("", "stop")
UNAVAILABLE = b'{"error":{"message":"no replica"}}'


@pytest.mark.parametrize(
    ("reply", "status", "tokens"),
    [
        (stream(ROLE, *TWO, END, DONE), "ok", 2),
        (stream(*TWO, END), "ok", 2),
        (PLAIN_HEAD + b"\r\n" + b"".join((*TWO, END)), "ok", 2),
        (stream(*TWO, END, end=b""), "cut_at_end", 2),
        (stream(ROLE, *TWO, end=b""), "cut", 2),
        (stream(*TWO), "cut", 2),
        (stream(*TWO, DONE), "cut", 2),
        (stream(*TWO, token("", "abort"), DONE), "aborted", 2),
        (stream(ROLE, end=b""), "cut", 0),
        (STREAM_HEAD, "cut", 0),
        (PLAIN_HEAD + b"\r\n" + b"".join(TWO), "cut", 2),
        (PLAIN_HEAD + b"Content-Length: 9999\r\n\r\n" + b"".join(TWO), "cut", 2),
        (stream(ROLE, *TWO, event(ERROR), DONE), "error_chunk", 2),
        (stream(event(ERROR), DONE), "error_chunk", 0),
        (stream(event({"object": "error", "message": "x"}), DONE), "error_chunk", 0),
        (stream(*TWO, token("", "error"), DONE), "error_chunk", 2),
        (
            (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
                b'{"error":"x"}'
            ),
            "error_chunk",
            0,
        ),
        (stream(ROLE, END, DONE), "no_token", 0),
        (stream(ROLE, token("", "abort"), DONE), "aborted", 0),
        (stream(DONE), "no_token", 0),
        (stream(), "no_token", 0),
        (PLAIN_HEAD + b"Content-Length: 0\r\n\r\n", "no_token", 0),
        (stream(TWO[0], b"data: {nonsense\n\n"), "garbled", 1),
        (stream(TWO[0], b'data: {"choices": "\xff\xfe"}\n\n'), "garbled", 1),
        (stream(b"data: [1, 2]\n\n"), "garbled", 0),
        (stream(b"data: {}\n\n"), "garbled", 0),
        (stream(TWO[0], end=b"zz\r\n"), "garbled", 1),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "garbled", 0),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "http_error", 0),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            "wrong_content_type",
            0,
        ),
        (b"HTTP/1.1 503 Unavailable\r\nContent-Length: 34\r\n\r\n" + UNAVAILABLE, "http_error", 0),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 99\r\n\r\ncut", "http_error", 0),
        (b"", "connect_reset", 0),
        (b"HTTP/1.1 200 OK\r\nContent-", "cut", 0),
    ],
)
def test_each_ending_has_its_status(
    serve: Any, asker: Any, reply: bytes, status: str, tokens: int
) -> None:
    """The bytes that came before the close decide the status; all but `ok` explain themselves."""
    row = asker(serve(say(reply)).url).ask()
    assert (row["status"], row["output_tokens"]) == (status, tokens), row["error"]
    assert bool(row["error"]) == (status != "ok")
    assert (row["first_token_s"] is None) == (tokens == 0)


def test_a_refusal_carries_its_code_and_words(serve: Any, asker: Any) -> None:
    """The status code is kept, and the server's message with it."""
    reply = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 34\r\n\r\n" + UNAVAILABLE
    row = asker(serve(say(reply)).url).ask()
    assert (row["http_status"], row["error"]) == (503, "503 no replica")


def test_the_api_key_never_reaches_a_row(serve: Any, asker: Any) -> None:
    """A server that repeats the key in its refusal does not get it into the record."""
    text = b"bad key k-secret"
    reply = b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
    row = asker(serve(say(reply)).url, api_key="k-secret").ask()
    assert row["error"] == "401 bad key ***"


def test_a_reset_stream_is_cut(serve: Any, asker: Any) -> None:
    """RST inside a stream is a cut like FIN is, and says so."""
    row = asker(serve(say_and_reset(stream(ROLE, *TWO, end=b""))).url).ask()
    assert (row["status"], row["output_tokens"]) == ("cut", 2)
    assert "reset" in row["error"]


def test_a_refused_connection_is_told_and_was_sent(asker: Any) -> None:
    """Nobody listens: the platform's failure, not the client's, so `sent_s` is set."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    row = asker(f"http://127.0.0.1:{port}").ask()
    assert (row["status"], row["http_status"]) == ("connect_refused", 0)
    assert "refused" in row["error"]
    assert row["sent_s"] is not None


@pytest.mark.parametrize(
    ("reply", "limits", "status"),
    [
        (b"", {"first_token_s": 0.1}, "timeout_first_token"),
        (STREAM_HEAD + chunk(ROLE), {"first_token_s": 0.1}, "timeout_first_token"),
        (STREAM_HEAD + chunk(TWO[0]), {"gap_s": 0.1}, "timeout_gap"),
        (STREAM_HEAD + chunk(TWO[0]), {"total_s": 0.3}, "timeout_total"),
        (b"", {"total_s": 0.1}, "timeout_total"),
    ],
)
def test_silence_ends_by_the_limit_that_ran_out(
    serve: Any, asker: Any, reply: bytes, limits: dict[str, float], status: str
) -> None:
    """A peer that falls silent is told apart by where it did."""
    row = asker(serve(say(reply, then_close=False)).url, **limits).ask()
    assert row["status"] == status
    assert row["end_s"] - row["due_s"] >= min(limits.values())


def test_a_peer_that_never_accepts_is_a_connect_timeout(asker: Any) -> None:
    """A full accept queue drops the handshake: no connection within the limit."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        row = asker(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_s=0.1).ask()
        for filler in fillers:
            filler.close()
    assert row["status"] == "timeout_connect"


def test_a_late_byte_is_late_even_before_the_watchdog_looks(serve: Any, asker: Any) -> None:
    """The status depends on the deadline, not on how often deadlines are checked."""
    one = asker("http://127.0.0.1:1", first_token_s=5)

    def script(connection: socket.socket) -> None:
        read_request(connection)
        one.skew_s = 60.0 - 5.0  # the clock jumps past first_token_s, before total_s
        connection.sendall(GOOD)

    one.client.tick = lambda now_s: None
    one.client.pool = Pool(Endpoint.of(serve(script).url), one.client.clock)
    assert one.ask()["status"] == "timeout_first_token"


def test_connections_are_kept_and_reused(serve: Any, asker: Any) -> None:
    """A complete answer gives its connection back; the next request goes out on it."""
    server = serve(answer_forever)
    one = asker(server.url)
    rows = [one.ask() for _ in range(3)]
    assert [row["connection_reused"] for row in rows] == [False, True, True]
    assert {row["status"] for row in rows} == {"ok"}
    assert server.connections == 1


def test_a_kept_connection_closed_while_idle_is_replaced_unseen(serve: Any, asker: Any) -> None:
    """A server's idle timeout is no failure: the dead connection is dropped before use."""
    server = serve(say(GOOD))
    one = asker(server.url)
    one.ask()
    (kept,) = one.client.pool._kept
    one.wait(lambda: kept.is_stale)
    row = one.ask()
    assert (row["status"], row["connection_reused"]) == ("ok", False)


def die_on_the_second_request(connection: socket.socket) -> None:
    """Answer once; drop the next request without a byte."""
    read_request(connection)
    connection.sendall(GOOD)
    read_request(connection)


def test_a_request_on_a_stale_connection_is_sent_once_more(serve: Any, asker: Any) -> None:
    """A kept connection that dies as we write to it costs nothing but a new connection."""
    server = serve(die_on_the_second_request, say(GOOD))
    one = asker(server.url)
    one.ask()
    row = one.ask()
    assert (row["status"], row["error"], row["connection_reused"]) == ("ok", "", True)
    assert server.connections == 2


def test_a_request_is_sent_once_more_only_once(serve: Any, asker: Any) -> None:
    """When the new connection dies too, the platform has refused."""
    server = serve(die_on_the_second_request, lambda connection: None)
    one = asker(server.url)
    one.ask()
    assert one.ask()["status"] == "connect_reset"
    assert server.connections == 2


def test_a_connection_that_dies_late_took_the_request_with_it(serve: Any, asker: Any) -> None:
    """A crash while the request waits for its first token must not be hidden by a retry."""
    one = asker("http://127.0.0.1:1")

    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(GOOD)
        read_request(connection)
        one.skew_s = 1.0

    server = serve(script, say(GOOD))
    one.client.pool = Pool(Endpoint.of(server.url), one.client.clock)
    one.ask()
    row = one.ask()
    assert row["status"] == "connect_reset"
    assert server.connections == 1


@pytest.mark.parametrize(
    ("indices", "duplicated", "missing"),
    [([0, 1, 2], 0, 0), ([0, 2, 3], 0, 1), ([1, 2], 0, 1), ([0, 1, 1, 2], 1, 0), ([0, 3, 3], 1, 2)],
)
def test_the_ledger_sees_repeats_and_gaps(
    serve: Any, asker: Any, indices: list[int], duplicated: int, missing: int
) -> None:
    """Token indices in the text show what a resumed stream lost or repeated."""
    words = [token(f"tok{index:04d}-3fa9 ") for index in indices]
    row = asker(serve(say(stream(*words, END, DONE))).url).ask()
    assert row["output_tokens"] == len(indices)
    assert (row["tokens_duplicated"], row["tokens_missing"]) == (duplicated, missing)


def test_text_without_indices_is_counted_by_the_server(serve: Any, asker: Any) -> None:
    """A real engine's text has no ledger: chunks count, until the usage chunk says better."""
    usage = event({"choices": [], "usage": {"completion_tokens": 9, "prompt_tokens": 1}})
    words = (token("Hello"), token(" token"), token("", "stop"))
    rows = [
        asker(serve(say(stream(*words, DONE))).url).ask(),
        asker(serve(say(stream(*words, usage, DONE))).url).ask(),
    ]
    assert [row["output_tokens"] for row in rows] == [2, 9]
    assert {(row["tokens_duplicated"], row["tokens_missing"]) for row in rows} == {(0, 0)}


@pytest.mark.parametrize("name", ["content", "reasoning_content", "reasoning"])
def test_a_reasoning_models_thoughts_are_tokens(serve: Any, asker: Any, name: str) -> None:
    """TTFT of a reasoning model is its first thought, under whichever name the engine uses."""
    thought = event({"choices": [{"delta": {name: "hm"}, "finish_reason": None}]})
    row = asker(serve(say(stream(ROLE, thought, END, DONE))).url).ask()
    assert (row["status"], row["output_tokens"]) == ("ok", 1)
    assert math.isfinite(row["first_token_s"])


def test_what_is_open_at_the_stop_is_unfinished(serve: Any, asker: Any) -> None:
    """Stopping writes every open request once, with what had come of it."""
    one = asker(serve(say(STREAM_HEAD + chunk(TWO[0]), then_close=False)).url)
    one.client.release(one.due())
    exchange = next(iter(one.client._in_flight))
    one.wait(lambda: exchange._answer.tokens == 1)
    one.client.stop()
    exchange.greenlet.join(BOUND_S)
    assert [(row["status"], row["output_tokens"]) for row in one.rows] == [("unfinished", 1)]
    assert one.client.in_flight == 0


def test_a_peer_that_keeps_back_the_last_chunk_loses_only_the_connection(
    serve: Any, asker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `[DONE]` the answer is whole; a connection that never ends it is not reused."""
    monkeypatch.setattr("faultload.load.worker.client._DRAIN_S", 0.02)
    one = asker(serve(say(stream(*TWO, END, DONE, end=b""), then_close=False)).url)
    rows = [one.ask(), one.ask()]
    assert [(row["status"], row["connection_reused"]) for row in rows] == [("ok", False)] * 2
