"""The process that carries the links, with real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference_platform.local.errors import MissingError
from inference_platform.local.links.document import Link
from inference_platform.local.links.file import LinkFile

WAIT_S = 10.0
LINUX = sys.platform.startswith("linux")
# Where Linux gives no outgoing connection its local port, and other tests do not listen.
HOST = f"127.{os.getpid() // 200 % 200 + 1}.{os.getpid() % 200}.9" if LINUX else "127.0.0.1"
RESET = struct.pack("ii", 1, 0)


def wait_for(what: Callable[[], Any]) -> None:
    """Wait until something is true; what it was last is in the error."""
    deadline = time.monotonic() + WAIT_S
    while not (last := what()):
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s; last seen: {last!r}"
        time.sleep(0.01)


def listener() -> socket.socket:
    """A callee that nobody has connected to."""
    sock = socket.socket()
    sock.settimeout(WAIT_S)
    sock.bind((HOST, 0))
    sock.listen(64)
    return sock


def free_address() -> tuple[str, int]:
    """An address that nobody listens on."""
    with listener() as sock:
        return sock.getsockname()


def connect(address: tuple[str, int]) -> socket.socket:
    """A caller's connection."""
    return socket.create_connection(address, WAIT_S)


def read(sock: socket.socket, count: int) -> bytes:
    """So many bytes, or those before the end."""
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def is_silent(sock: socket.socket, seconds: float = 0.1) -> bool:
    """Whether nothing comes for a while, not even an end."""
    return not select.select([sock], [], [], seconds)[0]


class Links:
    """A links process, and the links it carries for one test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "links.json"
        self.stderr = folder / "stderr"
        self.file = LinkFile(self.path)
        self.links: list[Link] = []
        self.process = self.start()
        self.write()

    def start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "inference_platform.local.links", "--file", str(self.path)]
        with self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen([*argv, "--die-with-parent"], stderr=stderr)
        return self.process

    def write(self) -> None:
        asyncio.run(self.file.applied(self.file.write(self.links), WAIT_S))

    def add(self, to: tuple[str, int], **conditions: Any) -> Link:
        link = Link(f"link-{len(self.links)}", free_address(), to, **conditions)
        self.links.append(link)
        self.write()
        return link

    def change(self, link: Link, **conditions: Any) -> None:
        """Replace all conditions of a link by these."""
        names = [each.name for each in self.links]
        conditions = {"to": link.to, **conditions}
        self.links[names.index(link.name)] = Link(link.name, link.listen, **conditions)
        self.write()

    def sockets(self) -> int:
        """How many sockets the process has."""
        folder = f"/proc/{self.process.pid}/fd"
        found = 0
        for descriptor in Path(folder).iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += str(descriptor.readlink()).startswith("socket:")
        return found


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Links]:
    """One process for the module; it must end well on SIGTERM and leave nothing."""
    links = Links(tmp_path_factory.mktemp("links"))
    yield links
    links.process.terminate()
    assert links.process.wait(WAIT_S) == 0
    assert not links.path.with_name("links.json.applied").exists()
    assert links.stderr.read_text() == ""


@pytest.fixture
def links(process: Links) -> Iterator[Links]:
    """No links yet; what the test opened in the process must go with its links."""
    process.links = []
    process.write()
    before = process.sockets() if LINUX else 0
    yield process
    process.links = []
    process.write()
    if LINUX:
        wait_for(lambda: process.sockets() == before)


@pytest.fixture
def callee() -> Iterator[socket.socket]:
    """Who listens behind a link."""
    with listener() as sock:
        yield sock


@pytest.fixture
def pair(
    links: Links, callee: socket.socket
) -> Iterator[tuple[Link, socket.socket, socket.socket]]:
    """An undisturbed link and one connection through it: caller and callee."""
    link = links.add(callee.getsockname())
    with connect(link.listen) as caller, callee.accept()[0] as accepted:
        accepted.settimeout(WAIT_S)
        caller.sendall(b"?")  # so that the relay has both sides, and not one yet
        assert read(accepted, 1) == b"?"
        yield link, caller, accepted


Pair = tuple[Link, socket.socket, socket.socket]


def test_bytes_and_ends_pass_both_ways(pair: Pair) -> None:
    """A caller that has nothing more to say still hears the answer, to its end."""
    _, caller, callee = pair
    caller.sendall(b"question")
    caller.shutdown(socket.SHUT_WR)
    assert read(callee, 100) == b"question"
    callee.sendall(b"answer")
    assert read(caller, 6) == b"answer"
    callee.close()
    assert caller.recv(1) == b""


@pytest.mark.parametrize("latency_s", [0.0, 0.01])
def test_a_callee_may_speak_first(links: Links, callee: socket.socket, latency_s: float) -> None:
    """What it says before the relay has both sides together is not lost, nor is its end."""
    link = links.add(callee.getsockname(), latency_s=latency_s)
    for _ in range(5):
        with connect(link.listen) as caller:
            with callee.accept()[0] as accepted:
                accepted.sendall(b"hello")
            assert read(caller, 100) == b"hello"


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_a_reset_is_passed_on_after_the_bytes_before_it(pair: Pair, who: str) -> None:
    """RST is not mistaken for a good end, and takes nothing away that came before."""
    _, caller, callee = pair
    breaks, hears = (caller, callee) if who == "caller" else (callee, caller)
    breaks.sendall(b"last words")
    breaks.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    breaks.close()
    assert read(hears, 10) == b"last words"
    with pytest.raises(ConnectionResetError):
        hears.recv(1)


def test_a_killed_callee_is_a_cut(links: Links) -> None:
    """SIGKILL of the engine ends its callers' streams at once, whatever they wait for."""
    code = (
        "import socket; l = socket.create_server(('127.0.0.1', 0)); print(l.getsockname()[1], "
        "flush=True); c = l.accept()[0]; c.sendall(b'token'); c.recv(1); c.recv(1)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        link = links.add(("127.0.0.1", int(engine.stdout.readline())))
        with connect(link.listen) as caller:
            assert read(caller, 5) == b"token"
            engine.kill()
            with contextlib.suppress(ConnectionResetError):
                assert caller.recv(1) == b""
        with pytest.raises(ConnectionResetError), connect(link.listen) as caller:
            caller.recv(1)


def test_a_refusal_is_a_reset(links: Links) -> None:
    """Nobody listens behind the link: the caller is connected, and reset."""
    link = links.add(free_address())
    with pytest.raises(ConnectionResetError), connect(link.listen) as caller:
        caller.recv(1)


def test_latency_holds_for_open_and_new_connections(
    links: Links, pair: Pair, callee: socket.socket
) -> None:
    """A round trip takes twice the latency more, the first one twice that: TCP's handshake."""
    link, caller, accepted = pair
    links.change(link, latency_s=0.02)

    def round_trip_s(one: socket.socket, other: Callable[[], socket.socket]) -> float:
        began_s = time.monotonic()
        one.sendall(b"ping")
        there = other()
        read(there, 4)
        there.sendall(b"pong")
        read(one, 4)
        return time.monotonic() - began_s

    assert round_trip_s(caller, lambda: accepted) >= 0.04
    with connect(link.listen) as new, contextlib.ExitStack() as stack:
        took_s = round_trip_s(new, lambda: stack.enter_context(callee.accept()[0]))
        assert took_s >= 0.075  # the clock starts after connect() returns
    links.change(link)
    assert round_trip_s(caller, lambda: accepted) > 0


def test_nothing_overtakes_when_a_fault_ends(links: Links, pair: Pair) -> None:
    """Bytes sent after the latency is gone wait for those that it still delays."""
    link, caller, callee = pair
    links.change(link, latency_s=0.15)
    caller.sendall(b"first")
    links.change(link)
    caller.sendall(b"second")
    assert read(callee, 11) == b"firstsecond"


def test_bandwidth_slows_and_lifts(links: Links, pair: Pair) -> None:
    """Bytes pass at the rate; what waited for it passes when the limit is gone."""
    link, caller, callee = pair
    links.change(link, bandwidth_bytes_per_s=100_000)
    began_s = time.monotonic()
    caller.sendall(bytes(20_000))
    assert len(read(callee, 20_000)) == 20_000
    assert time.monotonic() - began_s >= (20_000 - 1500) / 100_000
    links.change(link, bandwidth_bytes_per_s=1)
    caller.sendall(bytes(20_000))
    links.change(link)
    assert len(read(callee, 20_000)) == 20_000


@pytest.mark.parametrize("conditions", [{}, {"bandwidth_bytes_per_s": 1}, {"partitioned": True}])
def test_who_sends_too_much_must_wait(links: Links, pair: Pair, conditions: dict[str, Any]) -> None:
    """Buffers are bounded, whether the callee does not read or the link does not pass."""
    link, caller, callee = pair
    links.change(link, **conditions)
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    caller.setblocking(False)
    sent, letters = 0, bytes(i % 251 for i in range(66_000))
    while select.select([], [caller], [], 0.1)[1]:
        with contextlib.suppress(BlockingIOError):
            sent += caller.send(letters[sent % 251 :][:65536])
        assert sent < 4_000_000
    links.change(link)
    assert read(callee, sent) == bytes(i % 251 for i in range(sent))


def test_a_partition_freezes_and_heals(links: Links, pair: Pair, callee: socket.socket) -> None:
    """Open connections are silent, not closed; what was sent arrives when it heals."""
    link, caller, accepted = pair
    links.change(link, partitioned=True)
    caller.sendall(b"question")
    accepted.sendall(b"answer")
    accepted.shutdown(socket.SHUT_WR)
    assert is_silent(caller)
    assert is_silent(accepted)
    links.change(link)
    assert read(accepted, 8) == b"question"
    assert read(caller, 100) == b"answer"
    with connect(link.listen), callee.accept()[0]:
        pass


@pytest.mark.skipif(not LINUX, reason="elsewhere the kernel may still complete handshakes")
def test_nobody_connects_through_a_partition(links: Links, callee: socket.socket) -> None:
    """connect() times out; one that waits long enough gets through when it heals."""
    link = links.add(callee.getsockname(), partitioned=True)
    for _ in range(2):
        with socket.socket() as caller:
            caller.settimeout(0.1)
            with pytest.raises(TimeoutError):
                caller.connect(link.listen)
    with socket.socket() as caller:
        caller.setblocking(False)
        caller.connect_ex(link.listen)
        assert select.select([], [caller], [], 0.1)[1] == []
        links.change(link)
        assert select.select([], [caller], [], WAIT_S)[1] == [caller]
        caller.sendall(b"hello")
        with callee.accept()[0] as accepted:
            assert read(accepted, 5) == b"hello"
    assert is_silent(callee)  # neither who left nor what filled the queue is passed on


def test_a_partition_that_comes_again_holds_again(links: Links, callee: socket.socket) -> None:
    """On, off, on: the second one is as good as the first."""
    link = links.add(callee.getsockname())
    for _ in range(2):
        links.change(link, partitioned=True)
        if LINUX:
            with pytest.raises(TimeoutError):
                socket.create_connection(link.listen, 0.1)
        links.change(link)
        with connect(link.listen) as caller, callee.accept()[0] as accepted:
            caller.sendall(b"x")
            assert read(accepted, 1) == b"x"


def exchange(address: tuple[str, int], callee: socket.socket) -> str:
    """One question and its answer through a link: the answer, or what came instead."""
    fate: list[str] = []

    def ask() -> None:
        try:
            with connect(address) as caller:
                caller.sendall(b"q")
                fate.append(caller.recv(1).decode())
        except ConnectionError as error:
            fate.append(type(error).__name__)

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():
        if select.select([callee], [], [], 0.005)[0]:
            with callee.accept()[0] as accepted, contextlib.suppress(ConnectionError):
                accepted.settimeout(WAIT_S)
                accepted.sendall(read(accepted, 1) and b"a")
                accepted.recv(1)
    asking.join()
    return fate[0]


def test_the_ratio_of_new_connections_is_reset(links: Links, callee: socket.socket) -> None:
    """All of them at 1, before an answer is through; none at 0 again; the seed decides which."""
    link = links.add(callee.getsockname(), reset_ratio=1.0)
    assert {exchange(link.listen, callee) for _ in range(12)} <= {
        "ConnectionResetError",
        "BrokenPipeError",
    }
    links.change(link)
    assert {exchange(link.listen, callee) for _ in range(3)} == {"a"}


def test_a_reset_that_was_drawn_ends_with_the_fault(links: Links, callee: socket.socket) -> None:
    """Who was to be reset and was not yet is spared when the ratio is 0 again."""
    link = links.add(callee.getsockname(), reset_ratio=1.0)
    with contextlib.ExitStack() as stack:
        callers = []
        for _ in range(12):
            with contextlib.suppress(ConnectionResetError):
                callers.append(stack.enter_context(connect(link.listen)))
        links.change(link)
        spared = 0
        while select.select([callee], [], [], 0.05)[0]:
            stack.enter_context(callee.accept()[0]).sendall(b"a")
            spared += 1
        answers = []
        for caller in callers:
            with contextlib.suppress(ConnectionResetError):
                answers.append(caller.recv(1))
    assert spared > 0
    assert answers == [b"a"] * spared


def test_open_connections_are_reset_once(links: Links, pair: Pair, callee: socket.socket) -> None:
    """A ratio of 1 takes those that are open too; a partition holds the reset back."""
    link, caller, accepted = pair
    links.change(link, reset_ratio=1.0, partitioned=True)
    assert is_silent(caller)
    links.change(link, reset_ratio=1.0)
    for sock in (caller, accepted):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_the_seed_decides_who_is_reset(links: Links, callee: socket.socket) -> None:
    """The same link, made anew, resets the same connections."""
    fates = []
    for _ in range(2):
        link = links.add(callee.getsockname(), reset_ratio=0.5)
        fates.append([exchange(link.listen, callee) == "a" for _ in range(12)])
        links.links = []
        links.write()
    assert fates[0] == fates[1]
    assert set(fates[0]) == {True, False}


def test_a_removed_link_is_gone(links: Links, pair: Pair) -> None:
    """Its connections are reset and nobody listens."""
    link, caller, accepted = pair
    links.links = []
    links.write()
    for sock in (caller, accepted):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(link.listen)


def test_another_callee_is_for_new_connections(
    links: Links, pair: Pair, callee: socket.socket
) -> None:
    """An open connection stays where it is when `to` changes."""
    link, caller, accepted = pair
    with listener() as other:
        links.change(link, to=other.getsockname())
        with connect(link.listen), other.accept()[0]:
            caller.sendall(b"x")
            assert read(accepted, 1) == b"x"


def test_a_bad_version_keeps_the_links(tmp_path: Path, callee: socket.socket) -> None:
    """What cannot be used is refused, said once, and leaves what was in force."""
    links = Links(tmp_path)
    try:
        link = links.add(callee.getsockname())
        version = links.file.write([replace(link, reset_ratio=2.0)])
        with pytest.raises(MissingError, match=r"refused: .*reset_ratio: expected .* found 2.0"):
            asyncio.run(links.file.applied(version, WAIT_S))
        with connect(link.listen), callee.accept()[0]:
            pass
        links.path.write_text("{")
        applied = links.path.with_name("links.json.applied")
        wait_for(lambda: "expected JSON" in applied.read_text())
        assert json.loads(applied.read_text())["version"] == version - 1
        with pytest.raises(MissingError, match=r"not in force after 0.05 s; .*expected JSON"):
            asyncio.run(links.file.applied(version, 0.05))
        said = links.stderr.read_text().splitlines()
        assert [line.rpartition("; ")[2] for line in said] == ["keeping the links known before"] * 2
    finally:
        links.process.terminate()
        links.process.wait(WAIT_S)


def test_an_address_in_use_is_taken_when_it_is_free(tmp_path: Path, callee: socket.socket) -> None:
    """One link that cannot listen holds the whole version back, until it can."""
    links = Links(tmp_path)
    try:
        with listener() as in_the_way:
            taken = Link("taken", in_the_way.getsockname(), callee.getsockname())
            free = Link("free", free_address(), callee.getsockname())
            version = links.file.write([free, taken])
            with pytest.raises(MissingError, match="taken cannot listen on 127."):
                asyncio.run(links.file.applied(version, WAIT_S))
            with pytest.raises(ConnectionRefusedError):
                connect(free.listen)

        def is_applied() -> bool:
            with contextlib.suppress(MissingError):
                asyncio.run(links.file.applied(version, 0))
                return True
            return False

        wait_for(is_applied)
        with connect(taken.listen), callee.accept()[0]:
            pass
    finally:
        links.process.terminate()
        links.process.wait(WAIT_S)


def test_a_restart_takes_everything_from_the_file(tmp_path: Path, callee: socket.socket) -> None:
    """After a crash the same version is in force again, a partition too, and says so anew."""
    links = Links(tmp_path)
    try:
        link = links.add(callee.getsockname(), partitioned=True)
        version = json.loads(links.path.read_text())["version"]
        links.process.kill()
        links.process.wait(WAIT_S)
        links.file.forget()
        links.start()
        asyncio.run(links.file.applied(version, WAIT_S))
        if LINUX:
            with pytest.raises(TimeoutError):
                socket.create_connection(link.listen, 0.1)
    finally:
        links.process.terminate()
        links.process.wait(WAIT_S)


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """Whoever started it and was killed leaves nothing running."""
    path = tmp_path / "links.json"
    file = LinkFile(path)
    version = file.write([])
    argv = [sys.executable, "-m", "inference_platform.local.links", "--file", str(path)]
    code = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    parent = subprocess.Popen([sys.executable, "-c", code, *argv, "--die-with-parent"])
    asyncio.run(file.applied(version, WAIT_S))
    pid = json.loads(path.with_name("links.json.applied").read_text())["pid"]
    parent.send_signal(signal.SIGKILL)
    parent.wait(WAIT_S)

    def is_gone() -> bool:
        try:
            os.kill(pid, 0)
            return (
                LINUX and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
            )
        except (ProcessLookupError, FileNotFoundError):
            return True

    wait_for(is_gone)


def test_it_starts_light() -> None:
    """What takes long to import and is not needed to relay is not imported."""
    code = (
        "import sys, inference_platform.local.links.__main__;"
        "print({'pydantic', 'yaml', 'fastapi', 'inference_platform.local.config'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout == "set()\n"


def test_a_bad_command_line_is_a_usage_error() -> None:
    """64, as everywhere in the house."""
    argv = [sys.executable, "-m", "inference_platform.local.links"]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 64
