"""The local target over HTTP: a platform that is gone is told from one that merely is silent."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from faultload.errors import FaultError, MissingError, TargetGoneError
from faultload.faults import SessionFile, revert_unreverted
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep
from faultload.spec import load_target
from faultload.targets import LocalTarget


class Answer(BaseHTTPRequestHandler):
    """Answers everything with the server's `status` and `body`."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(self.server.body)  # type: ignore[attr-defined]

    do_POST = do_GET  # noqa: N815  # the base class looks for this name

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def control() -> Iterator[ThreadingHTTPServer]:
    """Return a control API on a free loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.status, server.body = 200, b"{}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def host() -> Iterator[subprocess.Popen[bytes]]:
    """Return a living process that looks like a platform's."""
    code = "import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, "inference_platform.local"])
    yield process
    process.kill()
    process.wait(5)


@pytest.fixture
def session(
    tmp_path: Path, control: ThreadingHTTPServer, host: subprocess.Popen[bytes]
) -> SessionFile:
    """Return a session with a fault in force on that platform."""
    (tmp_path / "token").write_text("secret", encoding="utf-8")
    about = {
        "platform_id": "p",
        "pid": host.pid,
        "control_url": f"http://127.0.0.1:{control.server_address[1]}",
        "token_file": str(tmp_path / "token"),
        "router_url": "http://127.0.0.1:1",
        "prometheus_url": "http://127.0.0.1:1",
    }
    (tmp_path / "platform.json").write_text(json.dumps(about), encoding="utf-8")
    target = tmp_path / "target.yaml"
    target.write_text("name: t\nkind: local\nlocal: {config: x.yaml}\n", encoding="utf-8")
    journal = InjectionJournal(tmp_path / "injections.jsonl")
    for step in (InjectionStep.PLANNED, InjectionStep.INJECTING):
        plan = {"victims": [], "undo": {"continue": []}}
        journal.append(InjectionEntry("h-1", step, "hang_replica", 1.0, plan=plan))
    return SessionFile(str(target), {"state": str(tmp_path)}, str(journal.path))


@pytest.mark.parametrize(("status", "body"), [(500, b"oops"), (200, b"not json")])
def test_platform_that_answers_badly_proves_nothing(
    session: SessionFile, control: ThreadingHTTPServer, status: int, body: bytes
) -> None:
    """An error of its control API is not the end of the fault: it stays unreverted."""
    control.status, control.body = status, body  # type: ignore[attr-defined]

    with pytest.raises(MissingError) as caught:
        revert_unreverted(session)

    assert not isinstance(caught.value, TargetGoneError)
    assert session.journal.unreverted()


def test_dead_platform_took_its_fault_along(
    session: SessionFile, control: ThreadingHTTPServer, host: subprocess.Popen[bytes]
) -> None:
    """Only a process that is gone proves that the fault is."""
    control.shutdown()
    control.server_close()
    with pytest.raises(MissingError):
        revert_unreverted(session)
    host.kill()
    host.wait(5)

    (outcome,) = revert_unreverted(session)

    assert "the platform is gone" in outcome["text"]
    assert session.journal.unreverted() == []


@pytest.mark.parametrize("status", [404, 409])
def test_refused_act_is_an_error_of_the_fault(
    session: SessionFile, control: ThreadingHTTPServer, status: int
) -> None:
    """A victim that is gone, or another by now, is told as what it is."""
    target = LocalTarget(load_target(Path(session.target_file)), Path(session.attachment["state"]))
    control.status = status  # type: ignore[attr-defined]
    try:
        with pytest.raises(FaultError, match="refused POST /v1/replicas/fast-0/signal"):
            target.kill_replica("fast-0", "u-1")
    finally:
        target.close()


def test_no_state_is_no_platform(session: SessionFile, tmp_path: Path) -> None:
    """A state folder that is gone is a platform that is gone; a damaged one is not."""
    spec = load_target(Path(session.target_file))
    with pytest.raises(TargetGoneError, match="faultload platform up"):
        LocalTarget(spec, tmp_path / "nowhere")
    (tmp_path / "platform.json").write_text("{}", encoding="utf-8")
    with pytest.raises(MissingError, match="not a local platform's state") as caught:
        LocalTarget(spec, tmp_path)

    assert not isinstance(caught.value, TargetGoneError)
