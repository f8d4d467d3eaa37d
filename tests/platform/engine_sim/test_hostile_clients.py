"""Clients that misbehave: none may cost another one its answer, or leave anything behind."""

from __future__ import annotations

import json
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

BOUND_S = 10.0
IDLE_CONNECTIONS = 2000
FAST = ("--sim-step-base-s", "0.0001", "--sim-step-per-seq-s", "0")
PATIENT = ("--sim-step-base-s", "0.01")  # a stream of 8000 tokens outlasts every test
HEALTH = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"

Until = Callable[..., None]
Spawn = Callable[..., Any]


def chat(tokens: int, *, stream: bool = True, head: str = "") -> bytes:
    """Return the bytes of one chat request."""
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": stream,
        }
    ).encode()
    lines = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{head}"
    )
    return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Victim:
    """A real engine, and connections to it as bytes."""

    def __init__(self, engine: Any, until: Until) -> None:
        self.engine = engine
        self.url = engine.url()
        self._until = until
        self._open = ExitStack()

    def connect(self, payload: bytes = b"") -> socket.socket:
        """Open a connection and send something; it is closed at the end of the test."""
        host, port = self.url.removeprefix("http://").split(":")
        sock = self._open.enter_context(socket.socket())
        sock.settimeout(BOUND_S)
        sock.connect((host, int(port)))
        sock.sendall(payload)
        return sock

    def gauge(self, name: str) -> float:
        """Return the value of `vllm:<name>`."""
        for line in requests.get(self.url + "/metrics", timeout=BOUND_S).text.splitlines():
            if line.startswith(f"vllm:{name}{{"):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no vllm:{name}")

    def until_running(self, count: int, waiting: int = 0) -> None:
        """Wait until so many requests are in the batch and so many wait for a place."""

        def is_so() -> bool:
            found = (self.gauge("num_requests_running"), self.gauge("num_requests_waiting"))
            return found == (count, waiting)

        self._until(is_so, f"{count} requests running, {waiting} waiting")

    def check(self) -> None:
        """Healthy, nothing left over, a normal stream is served in full, and no traceback."""
        assert requests.get(self.url + "/health", timeout=BOUND_S).status_code == 200
        self.until_running(0)
        assert_all_tokens(self.connect(chat(20)), 20)
        assert "Traceback" not in self.engine.log()
        assert self.engine.process.poll() is None

    def close(self) -> None:
        """Leave."""
        self._open.close()


def receive(sock: socket.socket, until: bytes | None = None) -> bytes:
    """Return what comes up to and with `until`, or up to the end of the connection."""
    data = b""
    while until is None or until not in data:
        try:
            part = sock.recv(1 << 16)
        except ConnectionResetError:
            break
        if not part:
            break
        data += part
    return data


def assert_all_tokens(sock: socket.socket, count: int) -> None:
    """Read one stream to its end: every token is there, in order."""
    answer = receive(sock, b"data: [DONE]\n\n")
    assert answer.startswith(b"HTTP/1.1 200")
    found = [part[:4] for part in answer.split(b'"content":"tok')[1:]]
    assert found == [b"%04d" % index for index in range(count)]


@pytest.fixture
def victim(spawn: Spawn, until: Until) -> Iterator[Callable[..., Victim]]:
    """Start engines with flags; each is checked after its test."""
    started: list[Victim] = []

    def start(*flags: str) -> Victim:
        started.append(Victim(spawn(*flags), until))
        return started[-1]

    yield start
    for one in started:
        one.close()
        one.check()
        one.close()


@contextmanager
def open_files(least: int) -> Iterator[None]:
    """Let this process and those it starts open so many files; skip where that is forbidden."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < least:
        pytest.skip(f"needs {least} open files, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, least), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_mib(pid: int) -> float:
    """Return a process's resident memory."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize() / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")
def test_thousands_of_idle_connections_cost_nobody_anything(
    victim: Callable[..., Victim],
) -> None:
    """Somebody who connects and says nothing holds a socket and no more."""
    with open_files(IDLE_CONNECTIONS + 200):
        engine = victim(*FAST)
        before_mib = resident_mib(engine.engine.process.pid)
        for _ in range(IDLE_CONNECTIONS):
            engine.connect()
        engine.check()
        assert resident_mib(engine.engine.process.pid) - before_mib < 40
        engine.close()


def test_it_raises_its_own_limit_of_open_files(victim: Callable[..., Victim]) -> None:
    """As vLLM, which asks for 65535: a shell's soft limit does not bound the number of clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1024:
        pytest.skip(f"needs 1024 open files, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        engine = victim(*FAST)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for _ in range(400):
        engine.connect()
    engine.check()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")
def test_readers_that_never_read_hold_little_memory_and_nobody_up(
    victim: Callable[..., Victim],
) -> None:
    """What a reader does not take is not written for it: the engine computes on, others get theirs.

    The rest waits as a number of tokens, not as bytes, whatever is asked for.
    """
    engine = victim(*FAST)
    before_mib = resident_mib(engine.engine.process.pid)
    deaf = [engine.connect(chat(4000)) for _ in range(32)]
    for sock in deaf:
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert_all_tokens(engine.connect(chat(500)), 500)
    engine.until_running(0)  # computed in full though nobody reads: 34 MB of events
    assert resident_mib(engine.engine.process.pid) - before_mib < 16
    late = deaf.pop()
    answer = receive(late, b"data: [DONE]\n\n")  # whoever reads in the end misses nothing
    assert answer.count(b'"content":"tok') == 4000


def test_headers_that_never_end_hold_only_their_own_connection(
    victim: Callable[..., Victim],
) -> None:
    """Slowloris: half a head is no request, and the next client is served."""
    engine = victim(*FAST)
    slow = [engine.connect(b"POST /v1/chat/completions HTTP/1.1\r\nHo") for _ in range(50)]
    engine.check()
    for sock in slow:
        sock.sendall(b"st: h\r\nX-Padding: " + b"a" * 1000)
    engine.check()


def test_a_half_closed_connection_is_a_client_that_has_left(
    victim: Callable[..., Victim],
) -> None:
    """As in vLLM, whose server is the same: the end of the input aborts the stream."""
    engine = victim(*PATIENT)
    half = [engine.connect(chat(8000)) for _ in range(8)]
    engine.until_running(8)
    for sock in half:
        sock.shutdown(socket.SHUT_WR)
    engine.until_running(0)
    for sock in half:
        assert b"[DONE]" not in receive(sock)  # and the connection ends


def test_what_is_not_http_gets_a_400_and_a_closed_connection(
    victim: Callable[..., Victim],
) -> None:
    """Nothing of it reaches the engine."""
    engine = victim(*FAST)
    chat_head = b"POST /v1/chat/completions HTTP/1.1\r\n"
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),  # TLS
        bytes(range(256)) * 64,
        b"\r\n" * 3 + b"GET\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        chat_head + b"Content-Length: -5\r\n\r\n{}",
        chat_head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        chat_head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    ):
        answer = receive(engine.connect(garbage))
        assert answer.startswith(b"HTTP/1.1 400 "), garbage[:80]
        engine.until_running(0)


def test_connections_reset_in_mid_stream_free_their_requests(
    victim: Callable[..., Victim],
) -> None:
    """A RST is as good as a goodbye, for running and waiting requests alike."""
    engine = victim(*PATIENT, "--max-num-seqs", "24")
    gone = [engine.connect(chat(8000)) for _ in range(40)]
    engine.until_running(24, waiting=16)
    for sock in gone:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    engine.until_running(0)
    assert engine.gauge("kv_cache_usage_perc") == 0


def test_pipelined_requests_are_answered_in_order(victim: Callable[..., Victim]) -> None:
    """Three requests in one write: a stream, a whole answer, and a probe."""
    engine = victim(*FAST)
    sock = engine.connect(chat(30) + chat(5, stream=False) + HEALTH)
    answer = receive(sock, b"0\r\n\r\n")
    while answer.count(b"HTTP/1.1 200 OK") < 3 or not answer.endswith(b"\r\n\r\n"):
        part = sock.recv(1 << 16)
        assert part, f"the connection ended after {answer[-200:]!r}"
        answer += part
    stream, whole, _ = answer.split(b"HTTP/1.1 200 OK")[1:]
    assert stream.count(b'"content":"tok') == 30
    assert b'"completion_tokens":5' in whole


def test_who_asks_before_sending_a_body_is_told_to_go_on(victim: Callable[..., Victim]) -> None:
    """Expect: 100-continue, as curl sends with large bodies."""
    engine = victim(*FAST)
    head, _, body = chat(20, head="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    sock = engine.connect(head + b"\r\n\r\n")
    assert receive(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    sock.sendall(body)
    assert_all_tokens(sock, 20)


def test_a_body_that_stops_short_is_never_a_request(victim: Callable[..., Victim]) -> None:
    """The rest is waited for; when the client leaves instead, nothing was asked."""
    engine = victim(*FAST)
    for leave in (socket.SHUT_WR, socket.SHUT_RDWR):
        sock = engine.connect(chat(20)[:-5])
        engine.check()
        sock.shutdown(leave)
        assert receive(sock) == b""


def test_what_follows_a_body_is_taken_as_the_next_request(victim: Callable[..., Victim]) -> None:
    """After the answer it gets a 400. Before, as in vLLM, whose server is the same, it costs it."""
    engine = victim(*FAST)
    sock = engine.connect(chat(20))
    assert_all_tokens(sock, 20)
    sock.sendall(b"too much of it")
    assert b"HTTP/1.1 400 " in receive(sock)
    sock = engine.connect(chat(20) + b"too much of it")
    assert receive(sock).startswith(b"HTTP/1.1 400 ")
