"""A run's lease on a local platform: renewed while it lasts, and told at once when it is lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from faultload.errors import FaultError, MissingError
from faultload.spec import LocalTargetSpec, load_target
from faultload.targets import LocalTarget, Mark, attach
from faultload.targets.control import ControlApi
from faultload.targets.local_lease import RENEW_S, RENEW_TIMEOUT_S, TTL_S, held

BOUND_S = 10.0


class Control(BaseHTTPRequestHandler):
    """A control API with leases that end when the server's `over` is set."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.asked.append((self.command, self.path, self.headers.get("Lease"), body))
        status = server.status if self.path.startswith("/v1/leases/") else 200
        over = server.over or status == 409
        self.send_response(409 if over else status)
        if over:
            self.send_header("Lease", "over")
        self.end_headers()
        self.wfile.write(b'{"error": "lease x is over"}' if over else b"{}")

    do_DELETE = do_POST  # noqa: N815  # the base class looks for this name

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[Any]:
    """Return a control API on a free loopback port."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Control)
    server.status, server.over, server.asked = 200, False, []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def about(server: Any, tmp_path: Path) -> dict[str, Any]:
    """Return what that platform says about itself."""
    (tmp_path / "token").write_text("secret", encoding="utf-8")
    about = {
        "platform_id": "p",
        "control_url": f"http://127.0.0.1:{server.server_address[1]}",
        "token_file": str(tmp_path / "token"),
    }
    (tmp_path / "platform.json").write_text(json.dumps(about), encoding="utf-8")
    return about


@pytest.fixture
def spec(tmp_path: Path) -> LocalTargetSpec:
    """Return a target file for it."""
    path = tmp_path / "target.yaml"
    path.write_text("name: t\nkind: local\nlocal: {config: x.yaml}\n", encoding="utf-8")
    spec = load_target(path)
    assert isinstance(spec, LocalTargetSpec)
    return spec


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, within a bound."""
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {BOUND_S} s for {what}"
        time.sleep(0.01)


def leases(server: Any, method: str = "POST") -> list[str]:
    """Return the paths of calls about leases so far."""
    return [path for kind, path, _, _ in server.asked if kind == method and "leases" in path]


def test_it_is_renewed_while_it_is_held_and_given_back_at_the_end(
    server: Any, about: dict[str, Any]
) -> None:
    """One name, for as long as the run lasts; its end is told, so that nothing waits for it."""
    with held(ControlApi(about, "secret"), renew_s=0.01) as lease:
        wait_for(lambda: len(leases(server)) > 3, "renewals")
        assert lease.problem == ""

    assert set(leases(server)) == {f"/v1/leases/{lease.name}"} == set(leases(server, "DELETE"))
    assert json.loads(server.asked[0][3]) == {"ttl_s": TTL_S}


def test_a_lease_that_is_over_is_a_problem_at_once(server: Any, about: dict[str, Any]) -> None:
    """The platform has undone the faults: the run proves nothing any more."""
    with held(ControlApi(about, "secret"), renew_s=0.01) as lease:
        server.over = True
        wait_for(lambda: lease.problem, "the problem")
        assert "has undone" in lease.problem
        assert "lease x is over" in lease.problem


def test_silence_is_a_problem_only_when_it_lasts_longer_than_the_lease(
    server: Any, about: dict[str, Any]
) -> None:
    """One renewal that fails is no reason to end a run; the next one may succeed."""
    with held(ControlApi(about, "secret"), ttl_s=60.0, renew_s=0.01) as lease:
        server.status = 500
        wait_for(lambda: leases(server).count(f"/v1/leases/{lease.name}") > 2, "failures")
        assert lease.problem == ""
        server.status = 200
        before = len(leases(server))
        wait_for(lambda: len(leases(server)) > before + 1, "renewals again")
        assert lease.problem == ""
    server.status = 200
    with held(ControlApi(about, "secret"), ttl_s=0.2, renew_s=0.01) as lease:
        server.status = 500
        wait_for(lambda: lease.problem, "the problem")
        assert "could not be renewed" in lease.problem
        assert "500" in lease.problem


def test_a_run_does_not_begin_without_its_lease(server: Any, about: dict[str, Any]) -> None:
    """Harm that nobody would put back is not done."""
    server.status = 500

    with pytest.raises(MissingError, match="/v1/leases/"), held(ControlApi(about, "secret")):
        pytest.fail("it is not held")


def test_several_renewals_may_fail_in_a_row() -> None:
    """A busy machine must not end a healthy run: half the lease is for attempts that fail."""
    assert RENEW_S + RENEW_TIMEOUT_S <= TTL_S / 2


def test_acts_of_a_run_are_under_its_lease_and_their_undoing_is_not(
    server: Any, about: dict[str, Any], spec: LocalTargetSpec, tmp_path: Path
) -> None:
    """The lease travels in the attachment; what takes harm back needs none, however late it is."""
    target = LocalTarget(spec, tmp_path)
    assert "lease" not in target.attachment()
    with target.lock("run-1"):
        attachment = target.attachment()
        with target.under(Mark("f-1", time.time() + 60)):
            target.kill_replica("fast-0", "u-1")
        child, undoing = attach(spec, attachment), attach(spec, attachment, to_undo=True)
        child.kill_replica("fast-1", "u-1")
        undoing.kill_replica("fast-2", "u-1")
        server.over = True
        with pytest.raises(FaultError, match="lease x is over"):
            child.evict_replica("fast-1", "u-1")
        server.over = False
    target.kill_replica("fast-3", "u-1")
    for one in (target, child, undoing):
        one.close()

    under = {path.split("/")[3]: lease for _, path, lease, _ in server.asked if "signal" in path}
    assert under == {
        "fast-0": attachment["lease"],
        "fast-1": attachment["lease"],
        "fast-2": None,
        "fast-3": None,
    }


def test_without_a_run_each_fault_has_a_lease_until_its_mark_expires(
    server: Any, about: dict[str, Any], spec: LocalTargetSpec, tmp_path: Path
) -> None:
    """Stock `chaos run` has no supervisor that could renew one: it is long, as a mark's time is."""
    target = LocalTarget(spec, tmp_path)
    for number in (1, 2):
        with target.under(Mark(f"hang_replica-{number}", time.time() + 60)):
            target.stop_replica("fast-0", "u-1")
        target.continue_replica("fast-0", "u-1")
    target.close()

    assert leases(server) == ["/v1/leases/hang_replica-1", "/v1/leases/hang_replica-2"]
    assert 50 < json.loads(server.asked[0][3])["ttl_s"] <= 60
    acts = [lease for _, path, lease, _ in server.asked if "signal" in path]
    assert acts == ["hang_replica-1", None, "hang_replica-2", None]
