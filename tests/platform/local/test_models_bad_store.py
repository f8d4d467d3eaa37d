"""A fetch from a store that is slow, mute, cut off, gone, or no store at all."""

import contextlib
import http.server
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference_platform.local.models import layout
from inference_platform.local.models.__main__ import main
from inference_platform.local.models.layout import StandIn

WAIT_S_MAX = 20.0
MODEL = StandIn("chat", shards=3)
Fails = Callable[..., str]
SHARD = "model-00001-of-00003.safetensors"


class Stub(http.server.ThreadingHTTPServer):
    """Serves a stand-in as S3 would, badly where it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StubHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.objects = {f"/models/chat/v1/{name}": raw for name, raw in MODEL.files()}
        self.objects["/models/chat/v1/manifest.json"] = MODEL.manifest().to_json()
        self.objects["/models/chat/current"] = b'{"version": "v1"}'
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = True
        self.hold_at: int | None = None  # bytes of a shard after which it falls silent
        self.cut_at: int | None = None  # bytes of a shard after which it hangs up
        self.trickle_s: float | None = None  # pause after every byte of an answer
        self.go_on = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no news."""


class StubHandler(http.server.BaseHTTPRequestHandler):
    """Answers a GET."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        stub = self.server
        assert isinstance(stub, Stub)
        wanted = self.headers["range"]
        stub.asked.append((self.path.rpartition("/")[2], wanted))
        body = stub.objects[self.path]
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and stub.ranges else 0
        self.send_response(206 if begin else 200)
        self.send_header("content-length", str(len(body) - begin))
        with contextlib.suppress(OSError):
            self.answer(stub, body, begin)

    def answer(self, stub: Stub, body: bytes, begin: int) -> None:
        if stub.trickle_s is not None:
            for byte in b"HTTP/1.1 200 OK\r\nx-slow: " + bytes(1000):
                self.wfile.write(bytes([byte]))
                time.sleep(stub.trickle_s)
        self.end_headers()
        stop = stub.hold_at if stub.hold_at is not None else stub.cut_at
        if stop is None or "safetensors" not in self.path:
            self.wfile.write(body[begin:])
            return
        self.wfile.write(body[begin:stop])
        if stub.hold_at is not None:
            stub.go_on.wait(WAIT_S_MAX)
            self.wfile.write(body[max(begin, stop) :])
        else:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A store whose faults a test chooses."""
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def nowhere() -> str:
    """An address that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """The node's cache."""
    return tmp_path / "cache"


def argv(url: str, into: Path, *flags: str) -> list[str]:
    """Return a command line."""
    where = ["--store", url, "--model", "chat", "--into", str(into)]
    return ["fetch", *where, "--timeout", "5", *flags]


def fetch(url: str, into: Path, *flags: str) -> None:
    """Fetch, and look whether the model is there."""
    assert main(argv(url, into, *flags)) == 0
    for name, content in MODEL.files():
        assert (into / name).read_bytes() == content
    assert (into / layout.MANIFEST).read_bytes() == MODEL.manifest().to_json()


@pytest.fixture
def fails(into: Path, capsys: pytest.CaptureFixture[str]) -> Fails:
    """Fail to fetch; return the one line that says why."""

    def fail(url: str, *flags: str) -> str:
        assert main(argv(url, into, *flags)) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error.removeprefix("fetch chat: ").strip()

    return fail


@pytest.mark.parametrize("ranges", [True, False])
def test_a_killed_fetch_is_gone_on_with(into: Path, stub: Stub, ranges: bool) -> None:
    """SIGKILL in the middle of a shard: the rest is loaded, or all of it if S3 has no ranges."""
    stub.hold_at, stub.ranges = 40_000, ranges
    process = subprocess.Popen(
        [sys.executable, "-m", "inference_platform.local.models", *argv(stub.url, into)],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + WAIT_S_MAX
        while not any(part.stat().st_size >= 32_768 for part in into.glob("model*.part")):
            assert time.monotonic() < deadline, f"no part; asked: {stub.asked}"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    [part] = into.glob("model*.part")
    rest = f"bytes={part.stat().st_size}-"
    stub.asked.clear()
    stub.hold_at = None

    fetch(stub.url, into)

    asked = [wanted for name, wanted in stub.asked if name == SHARD]
    assert asked == ([rest] if ranges else [rest, None])


def test_an_answer_that_is_cut_is_told(fails: Fails, stub: Stub) -> None:
    """How much came, and how much should have."""
    stub.cut_at = 10_000

    assert re.search(
        r'^Connection was closed .*"http://.*00001-of-00003.safetensors": '
        r"expected 65536 bytes, found 10000 bytes$",
        fails(stub.url),
    )


def test_silence_ends_a_fetch(fails: Fails, stub: Stub) -> None:
    """The timeout counts from the last byte."""
    stub.hold_at = 10_000

    error = fails(stub.url, "--timeout", "0.5")

    assert re.search("^Read timeout .*: expected 65536 bytes, found .* silence for 0.5 s$", error)


def test_a_trickle_ends_at_the_deadline(fails: Fails, stub: Stub) -> None:
    """A byte now and then keeps a socket's timeout from firing, in a header too."""
    stub.trickle_s = 0.01

    error = fails(stub.url, "--deadline", "0.3")

    assert re.search("^Read timeout on endpoint URL: .*/current.* all 0.3 s used up$", error)


def test_something_that_is_not_s3_is_told(fails: Fails, stub: Stub) -> None:
    """Another manifest than asked for, and a server that speaks no HTTP."""
    key = "/models/chat/v1/manifest.json"
    stub.objects[key] = StandIn("other").manifest().to_json()
    assert re.search("expected the manifest of .*, found that of other/v1", fails(stub.url))

    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            client = server.accept()[0]
            with client:
                client.sendall(b"220 mail\n\x1b[31m ready\r\n")
                client.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        error = fails(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join(WAIT_S_MAX)
    assert re.search(r"expected an answer of S3, found '220 mail", error)


def test_an_intact_cache_will_do_offline(
    into: Path, fails: Fails, nowhere: str, stub: Stub
) -> None:
    """With --offline-ok only, with the right version only, and only if it is intact."""
    fetch(stub.url, into)
    stub.asked.clear()
    assert "Could not connect" in fails(nowhere)
    fetch(nowhere, into, "--offline-ok")
    fetch(stub.url, into, "--offline-ok", "--version", "v1")
    assert stub.asked == []  # a version by name that is here needs no store
    assert "Could not connect" in fails(nowhere, "--offline-ok", "--version", "v2")
    stub.objects["/models/chat/current"] = b'{"version": "v2"}'
    stub.objects["/models/chat/v2/manifest.json"] = b"oops"
    assert "expected a manifest" in fails(stub.url, "--offline-ok")

    (into / SHARD).write_bytes(bytes(64 * 1024))
    assert "Could not connect" in fails(nowhere, "--offline-ok", "--verify")
    (into / SHARD).unlink()
    assert "Could not connect" in fails(nowhere, "--offline-ok")
