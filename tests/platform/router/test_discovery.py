"""Replicas on Kubernetes: what EndpointSlices become, and what happens when nobody answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from inference_platform.router.discovery import Follower, asker, endpoints_of, main
from inference_platform.router.endpoints import Endpoint, EndpointsFile

_WAIT_S = 20.0


def _slice(*pods: dict[str, Any], tier: str | None = "fast", **more: Any) -> dict[str, Any]:
    labels = {"faultload.io/model": "chat-fast"} | ({"faultload.dev/tier": tier} if tier else {})
    one = {"metadata": {"name": "s", "labels": labels}, "ports": [{"port": 8000}]}
    return one | {"endpoints": list(pods)} | more


def _pod(name: str, address: str = "10.0.0.1", **conditions: bool) -> dict[str, Any]:
    target = {"kind": "Pod", "name": name, "uid": f"u-{name}"}
    return {"addresses": [address], "conditions": conditions, "targetRef": target}


def _list(*slices: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "EndpointSliceList", "items": list(slices)}


def _read(path: Path) -> list[Endpoint]:
    """Return what the router makes of a file."""
    seen: list[list[Endpoint]] = [[]]
    EndpointsFile(path, seen.append).poll()
    return seen[-1]


def test_router_reads_what_discovery_writes(tmp_path: Path) -> None:
    """One writes the file and the other reads it: they must mean the same."""
    path = tmp_path / "endpoints.json"
    found = _list(_slice(_pod("a", ready=True), _pod("b", "fd00::1", ready=False)))
    assert Follower(lambda: found, path).step()
    first, second = _read(path)
    assert (first.name, first.uid, first.tier) == ("a", "u-a", "fast")
    assert (first.served_model, first.address, first.ready) == (
        "chat-fast",
        ("10.0.0.1", 8000),
        True,
    )
    assert (second.address, second.ready) == (("fd00::1", 8000), False)


def test_pod_that_ends_gets_no_more_requests() -> None:
    """A pod that is being deleted serves on, but is not ready; nobody may begin anything there."""
    found = endpoints_of(_list(_slice(_pod("a", ready=False, serving=True, terminating=True))))
    assert [one["ready"] for one in found] == [False]


def test_what_is_not_said_counts_as_ready() -> None:
    """The API asks to read a missing condition so."""
    assert [one["ready"] for one in endpoints_of(_list(_slice(_pod("a"))))] == [True]


def test_pod_in_two_slices_is_one_replica() -> None:
    """While it moves from one slice to another; the router refuses a name that is there twice."""
    both = endpoints_of(_list(_slice(_pod("a", ready=False)), _slice(_pod("a", ready=True))))
    assert [(one["name"], one["ready"]) for one in both] == [("a", True)]


def test_what_is_no_engine_of_ours_is_left_out() -> None:
    """A Service without tier, a slice without ports, an address that is no pod."""
    stranger = _pod("b") | {"targetRef": {"kind": "Node", "name": "n", "uid": "u"}}
    slices = [
        _slice(_pod("a"), tier=None),
        _slice(_pod("a"), ports=[]),
        _slice(stranger, _pod("c") | {"targetRef": None}),
        _slice() | {"endpoints": None},
    ]
    assert endpoints_of(_list(*slices)) == []


@pytest.mark.parametrize("broken", [OSError("gone"), ValueError("no JSON"), KeyError("uid")])
def test_who_cannot_ask_keeps_what_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: Exception
) -> None:
    """A control plane that is away must not empty the router; it is said once, not each time."""
    path = tmp_path / "endpoints.json"
    answers: list[dict[str, Any] | Exception] = [
        _list(_slice(_pod("a"))),
        broken,
        broken,
        _list(_slice(_pod("a"), _pod("b"))),
    ]

    def ask() -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    follower = Follower(ask, path)
    with caplog.at_level("INFO"):
        assert [follower.step() for _ in range(3)] == [True, False, False]
        assert [one.name for one in _read(path)] == ["a"]
        assert follower.step()
    assert [one.name for one in _read(path)] == ["a", "b"]
    said = [record.message for record in caplog.records]
    assert [text.split(":")[0] for text in said] == [
        "1 replicas, 1 of them ready",
        "cannot be asked",
        "can be asked again",
        "2 replicas, 2 of them ready",
    ]


def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    """Each new file is read again by the router, so only a change makes one."""
    path = tmp_path / "endpoints.json"
    follower = Follower(lambda: _list(_slice(_pod("a"))), path)
    follower.step()
    before = path.stat()
    follower.step()
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns


class _Api(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, str | None]]] = []
    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        """Answer as an API server would."""
        self.asked.append((self.path, self.headers["Authorization"]))
        body = json.dumps(_list(_slice(_pod("a")))).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server's address that answers with one replica; `_Api.status` makes it refuse."""
    monkeypatch.setattr(_Api, "asked", [])
    monkeypatch.setattr(_Api, "status", 200)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(_WAIT_S)


def test_token_is_read_each_time(api: str, tmp_path: Path) -> None:
    """The kubelet renews it every hour; a token that was kept would be refused one day."""
    (tmp_path / "token").write_text("first\n", encoding="utf-8")
    ask = asker(api, tmp_path, "inference", "app.kubernetes.io/name=vllm", _WAIT_S)
    ask()
    (tmp_path / "token").write_text("second\n", encoding="utf-8")
    ask()
    assert [token for _, token in _Api.asked] == ["Bearer first", "Bearer second"]
    path = "/apis/discovery.k8s.io/v1/namespaces/inference/endpointslices"
    query = "?resourceVersion=0&labelSelector=app.kubernetes.io/name%3Dvllm"
    assert {asked for asked, _ in _Api.asked} == {path + query}


def test_refusal_is_no_empty_list(api: str, tmp_path: Path, monkeypatch: Any) -> None:
    """403 means that nothing is known, and not that there is no replica."""
    (tmp_path / "token").write_text("t", encoding="utf-8")
    monkeypatch.setattr(_Api, "status", 403)
    follower = Follower(asker(api, tmp_path, "n", "a=b", _WAIT_S), tmp_path / "endpoints.json")
    assert not follower.step()
    assert not (tmp_path / "endpoints.json").exists()


def test_process_follows_until_it_is_told_to_end(api: str, tmp_path: Path) -> None:
    """A sidecar that ignores SIGTERM would hold its pod for the whole grace period."""
    (tmp_path / "token").write_text("t", encoding="utf-8")
    path = tmp_path / "endpoints.json"
    command = [sys.executable, "-m", "inference_platform.router.discovery", f"--server={api}"]
    where = [f"--sign-in={tmp_path}", f"--into={path}", "--namespace=inference", "--selector=a=b"]
    with subprocess.Popen([*command, *where, "--period-s=0.05"], env={**os.environ}) as process:
        try:
            for _ in range(400):
                if path.exists():
                    break
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.05)
            assert [one.name for one in _read(path)] == ["a"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(_WAIT_S) == 0
        finally:
            process.kill()


def test_without_a_cluster_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On a laptop there is no API server to be guessed."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    needed = ["--namespace=n", "--selector=a=b", f"--into={tmp_path / 'e.json'}"]
    assert main(needed) == 64
    assert "--server" in capsys.readouterr().err
    assert main([*needed, "--server=https://10.0.0.1", f"--sign-in={tmp_path}"]) == 69
    assert "mount the pod's ServiceAccount" in capsys.readouterr().err
    assert main(["--unknown"]) == 64
