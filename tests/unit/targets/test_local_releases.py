"""Releases and weights over the control API: what is ordered, and what a fetch makes of a store."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from faultload.errors import FaultError
from faultload.targets import Flaw, Mark, Spoiling
from faultload.targets.control import ControlApi
from faultload.targets.local_releases import LocalReleases

SHARD = b"weights" * 10
VERSION = "/models/chat-fast/v1"


class Fake(ThreadingHTTPServer):
    """A control API and a model store in one.

    Attributes:
        objects: path → content of the store; bytes that are not there are a 404.
        broken: the store answers 500.
        orders: path and body of each order.
        tier, replicas: what the state says.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.broken = False
        self.orders: list[tuple[str, Any]] = []
        self.replicas: list[dict[str, Any]] = []
        self.tier: dict[str, Any] = {
            "name": "fast",
            "model": "chat-fast",
            "wanted": 2,
            "updated": 1,
            "ready": 2,
            "stalled": False,
            "revision": "r2",
            "annotation": "ours",
            "max_unavailable": 1,
            "slow_factor": 2.0,
        }
        files = [{"name": "a", "size": 70, "sha256": hashlib.sha256(SHARD).hexdigest()}]
        self.objects: dict[str, bytes] = {
            "/models/chat-fast/current": b'{"version": "v1"}',
            f"{VERSION}/manifest.json": json.dumps({"files": files}).encode(),
            f"{VERSION}/a": SHARD,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def state(self) -> Mapping[str, Any]:
        return {
            "tiers": [self.tier],
            "replicas": self.replicas,
            "components": [{"name": "model-store", "url": "http://127.0.0.1:1"}],
            "links": [{"name": "model-store", "listen": list(self.server_address)}],
        }


class Handler(BaseHTTPRequestHandler):
    """Answers for a `Fake`."""

    server: Fake

    def do_GET(self) -> None:
        if self.path == "/v1/state":
            self._answer(200, json.dumps(self.server.state).encode())
        elif self.server.broken:
            self._answer(500, b"")
        elif self.path in self.server.objects:
            self._answer(200, self.server.objects[self.path])
        else:
            self._answer(404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.orders.append((self.path, json.loads(body)))
        self._answer(200, b"{}")

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def fake() -> Iterator[Fake]:
    """Return a platform's answers on a free loopback port."""
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def target(fake: Fake) -> Iterator[LocalReleases]:
    """Return that part of a local target."""
    made = LocalReleases()
    made._control = ControlApi({"control_url": fake.url, "pid": 1}, "secret")
    yield made
    made._control.close()


def test_rollout_counts_the_current_revision_and_says_why_it_waits(
    fake: Fake, target: LocalReleases
) -> None:
    """Who is of another revision or on its way out does not count."""
    fake.replicas = [
        {"tier": tier, "revision": revision, "phase": phase, "ready": ready, "waits_for": why}
        for tier, revision, phase, ready, why in [
            ("fast", "r2", "ready", True, ""),
            ("fast", "r2", "pending", False, "ImagePullBackOff"),
            ("fast", "r2", "stopping", True, "Gone"),
            ("fast", "r1", "ready", True, "Old"),
            ("reasoning", "r2", "ready", True, "Other"),
        ]
    ]

    found = target.rollout("fast", "fast")

    assert found is not None
    assert (found.revision, found.updated, found.updated_ready) == ("r2", 1, 1)
    assert (found.token, found.max_unavailable) == ("ours", 1)
    assert found.waits_for == "ImagePullBackOff"
    assert target.rollout("fast", "another") is None


@pytest.mark.parametrize(
    ("flaw", "body"),
    [
        ("unpullable", {"pullable": False}),
        ("crashing", {"engine": {"extra_args": ["--no-such-flag"]}}),
        ("slow", {"engine": {"slow_factor": 8.0}}),
    ],
)
def test_each_flaw_is_a_change_that_carries_the_token(
    fake: Fake, target: LocalReleases, flaw: Flaw, body: dict[str, Any]
) -> None:
    """A slow one is slower than what runs, however slow that is."""
    target.release("fast", "fast", flaw, Mark("a-token", 0.0))

    assert fake.orders == [("/v1/tiers/fast/release", {**body, "annotation": "a-token"})]


def test_only_our_own_release_is_rolled_back(fake: Fake, target: LocalReleases) -> None:
    """Neither somebody else's nor a tier that is back already."""
    target.roll_back("fast", "fast", "another", "r1")
    target.roll_back("fast", "fast", "ours", "r2")
    target.roll_back("fast", "another", "ours", "r1")
    assert fake.orders == []

    target.roll_back("fast", "fast", "ours", "r1")
    assert fake.orders == [("/v1/tiers/fast/rollback", {"to": "r1"})]


@pytest.mark.parametrize(
    ("how", "change"),
    [("missing", "empty"), ("corrupt", "corrupt"), ("truncated", "truncate")],
)
def test_weights_are_spoilt_and_restored_by_the_platform(
    fake: Fake, target: LocalReleases, how: Spoiling, change: str
) -> None:
    """A tier's model is what is named."""
    target.spoil_model("fast", how, Mark("a-token", 0.0))
    target.restore_model("fast", "a-token")

    path = "/v1/models/chat-fast"
    assert fake.orders == [(path, {"change": change}), (path, {"change": "restore"})]
    with pytest.raises(FaultError, match="no tier reasoning"):
        target.restore_model("reasoning", "a-token")


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("/models/chat-fast/current", None, "missing: current is not in the store"),
        ("/models/chat-fast/current", b"v1", "corrupt: current is not what it should be"),
        (f"{VERSION}/manifest.json", None, "missing: v1/manifest.json is not in the store"),
        (f"{VERSION}/manifest.json", b"[]", "corrupt: v1/manifest.json is not what it should be"),
        (f"{VERSION}/a", None, "missing: v1/a is not in the store"),
        (f"{VERSION}/a", SHARD[:35], "truncated: v1/a has 35 of 70 bytes"),
        (f"{VERSION}/a", SHARD[::-1], "corrupt: v1/a has sha256 "),
        (f"{VERSION}/a", SHARD * 2, "corrupt: v1/a has sha256 "),
    ],
)
def test_fetch_finds_what_is_wrong_and_how(
    fake: Fake, target: LocalReleases, path: str, content: bytes | None, problem: str
) -> None:
    """Every way a store can lack a version or have it wrong begins with its own word."""
    assert target.model_problem("fast") == ""
    del fake.objects[path]
    if content is not None:
        fake.objects[path] = content

    found = target.model_problem("fast")

    assert found is not None
    assert found.startswith(problem)


def test_silent_store_is_neither_whole_nor_spoilt(fake: Fake, target: LocalReleases) -> None:
    """No answer proves nothing about the weights."""
    fake.broken = True

    assert target.model_problem("fast") is None
