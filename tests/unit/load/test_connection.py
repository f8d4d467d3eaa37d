"""A connection hands over everything that arrives, once, to whoever listens then."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import gevent.socket
import pytest
from tls_servers import make_certificate

from faultload.load.worker.connection import _UNHEARD_MAX, Connection, _Desk
from faultload.load.worker.tls import Tls, context_of

BOUND_S = 10.0

Pair = tuple[Connection, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Make a connection and its peer, which never waits."""
    ours, peer = gevent.socket.socketpair()
    theirs = socket.socket(fileno=peer.detach())
    theirs.setblocking(False)
    connection = Connection(ours, _Desk(), time.monotonic)
    yield connection, theirs
    connection.close()
    theirs.close()


def wait(until: Callable[[], bool], what: str) -> None:
    """Let the event loop run until something is so."""
    deadline_s = time.monotonic() + BOUND_S
    while not until():
        assert time.monotonic() < deadline_s, f"still waiting for {what}"
        gevent.sleep(0.001)


def arrive(pair: Pair, *parts: bytes) -> None:
    """Have each part arrive by itself while nobody listens."""
    connection, peer = pair
    for part in parts:
        before = len(connection._arrivals)
        peer.sendall(part)
        wait(lambda: len(connection._arrivals) > before, "the arrival")  # noqa: B023


def test_who_listens_again_at_once_gets_what_had_arrived_meanwhile(pair: Pair) -> None:
    """Head and body of a refusal that share a burst must not cost the wait for the deadline."""
    arrive(pair, b"head", b"body", b"more")
    connection, _ = pair
    reading = gevent.spawn(lambda: [connection.receive() for _ in range(3)])
    reading.join(BOUND_S)
    assert reading.value == [b"head", b"body", b"more"]


def test_what_is_left_behind_an_answer_stays_for_the_next_listener(pair: Pair) -> None:
    """`listen` ends with the arrival that its taker says is the last."""
    arrive(pair, b"1", b"2", b"3")
    connection, _ = pair
    taken: list[bytes | OSError] = []

    def take(arrived: bytes | OSError, _: float) -> bool:
        taken.append(arrived)
        return len(taken) == 2

    gevent.spawn(connection.listen, take).join(BOUND_S)
    assert taken == [b"1", b"2"]
    assert connection.is_stale


def test_a_peer_that_floods_while_nobody_listens_is_kept_waiting(pair: Pair) -> None:
    """An idle connection costs no more memory than a few reads; who listens gets the rest."""
    connection, peer = pair
    arrive(pair, *[b"x"] * _UNHEARD_MAX)
    peer.sendall(b"rest")
    for _ in range(5):
        gevent.sleep(0.001)
    assert len(connection._arrivals) == _UNHEARD_MAX
    reading = gevent.spawn(lambda: [connection.receive() for _ in range(_UNHEARD_MAX + 1)])
    reading.join(BOUND_S)
    assert reading.value == [b"x"] * _UNHEARD_MAX + [b"rest"]


def test_news_are_what_a_listener_has_not_been_handed_yet(pair: Pair) -> None:
    """The watchdog spares a request whose bytes came in time and wait for their turn."""
    connection, _ = pair
    arrive(pair, b"x")
    assert not connection.has_news(time.monotonic())  # nobody listens
    at_s = connection._arrivals[0][1]
    listening = gevent.spawn(connection.receive)
    gevent.sleep(0)  # it listens, and the desk has not had its turn
    news = [connection.has_news(at_s), connection.has_news(at_s - 1.0)]
    listening.join(BOUND_S)
    assert (news, connection.has_news(at_s)) == ([True, False], False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


class Peer:
    """The other side of a TLS connection, in memory."""

    def __init__(self, certificate: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        """Wait for a client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = version
        context.load_cert_chain(certificate)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_side=True)
        self.done = False

    def answer(self, arrived: bytes) -> bytes:
        """Return the next step of the handshake."""
        self._in.write(arrived)
        try:
            self._object.do_handshake()
            self.done = True
        except ssl.SSLWantReadError:
            pass
        return self._out.read()

    def greet(self, tls: Tls) -> None:
        """Shake hands with a client."""
        arrived: bytes | None = None
        while not tls.shake_hands(arrived):
            arrived = self.answer(tls.outgoing()) or None
        tickets = self.answer(tls.outgoing())
        assert tickets
        assert tls.decrypt(tickets) == []

    def say(self, *texts: bytes) -> bytes:
        """Return a record for each text."""
        for text in texts:
            self._object.write(text)
        return self._out.read()

    def leave(self) -> bytes:
        """Return the close notice."""
        with pytest.raises(ssl.SSLWantReadError):
            self._object.unwrap()
        return self._out.read()


def joined(pieces: list[bytes | OSError]) -> tuple[bytes, list[type]]:
    """Return the bytes, and the kinds of the ends."""
    data = [piece for piece in pieces if isinstance(piece, bytes)]
    ends = [type(piece) for piece in pieces if not piece or isinstance(piece, OSError)]
    return b"".join(data), ends


@pytest.mark.parametrize("step", [1, 7, 100, 100_000])
@pytest.mark.parametrize("ending", ["open", "notice", "ragged", "garbage"])
def test_records_however_cut_are_what_was_said_before_the_end(
    certificate: Path, step: int, ending: str
) -> None:
    """A defect or a close notice behind good records takes none of them away."""
    peer, tls = Peer(certificate), Tls(context_of(certificate), "127.0.0.1")
    peer.greet(tls)
    said = [b"one", b"x" * 20_000, b"three"]
    wire = peer.say(*said)
    if ending == "notice":
        wire += peer.leave()
    if ending == "garbage":
        bad = bytearray(peer.say(b"never"))
        bad[-1] ^= 1
        wire += bytes(bad)
    pieces = [
        piece for at in range(0, len(wire), step) for piece in tls.decrypt(wire[at : at + step])
    ]
    if ending == "ragged":
        pieces += tls.decrypt(b"")
    text, ends = joined(pieces)
    assert text == b"".join(said)
    wanted = {"open": [], "notice": [bytes], "ragged": [bytes], "garbage": [ssl.SSLError]}
    assert ends[:1] == wanted[ending]


def test_a_peer_that_speaks_with_its_handshake_has_spoken(pair: Pair, certificate: Path) -> None:
    """What came before anything was asked must not pass for the answer to what is asked next."""
    plain, wire = pair
    connection = Connection(
        plain._sock, plain._desk, time.monotonic, Tls(context_of(certificate), "127.0.0.1")
    )
    plain._watcher.stop()
    peer = Peer(certificate, ssl.TLSVersion.TLSv1_2)
    shaking = gevent.spawn(connection.shake_hands)
    while not shaking.dead:
        gevent.sleep(0.001)
        try:
            arrived = wire.recv(65_536)
        except BlockingIOError:
            continue
        said = peer.answer(arrived)
        early = peer.say(b"HTTP/1.1 408 Late") if peer.done else b""
        wire.sendall(said + early)
    assert connection.is_stale
    assert connection._arrivals[0][0] == b"HTTP/1.1 408 Late"
    connection.close()
