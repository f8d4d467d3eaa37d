"""Sides that are URLs: who is gone, and who only holds something against us."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from gates import Bench, planned, threshold

from faultload.errors import MissingError
from faultload.judge import Verdict
from faultload.run.gate.conduct import Gate
from faultload.run.gate.judging import judge_gate
from faultload.run.gate.sides import SideGoneError, opened
from faultload.run.progress import Silent


@contextlib.contextmanager
def answering(code: int) -> Iterator[str]:
    """Answer every GET with this status; yields the URL."""

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


@pytest.mark.parametrize(
    ("code", "is_gone"),
    [(302, False), (401, False), (403, False), (429, False), (500, True), (502, True), (503, True)],
)
def test_who_refuses_us_is_not_gone(tmp_path: Path, code: int, is_gone: bool) -> None:
    """Below 500 an answer is about our request: others may be served. A failure is everybody's."""
    with answering(code) as url:
        plan = planned(tmp_path, candidate=url)
        specs = [plan.sides["candidate"]]
        with (
            pytest.raises(MissingError, match=f"{url}/v1/models answers {code}") as found,
            opened(plan.catalogue, specs, "gate-1"),
        ):
            pass

    assert isinstance(found.value, SideGoneError) is is_gone


def test_key_that_is_refused_confirms_no_fail(tmp_path: Path) -> None:
    """Our key was revoked between the rounds: what the candidate is for its users is not known."""
    bench = Bench({1: {"baseline": 1.0, "candidate": 1.5}})

    @contextlib.contextmanager
    def opening(*asked: Any) -> Iterator[Any]:
        with (opened if bench.opened else bench.opening)(*asked) as sides:
            yield sides

    with answering(200) as baseline, answering(401) as candidate:
        plan = planned(tmp_path, baseline=baseline, candidate=candidate, confirm=True)
        gate = Gate(plan, Silent(), player=bench.play, opening=opening, look=threshold)
        report = judge_gate(gate.run(), threshold)

    assert report.verdict is Verdict.INVALID
    assert "no repetition could confirm it" in report.reason
    assert f"{candidate}/v1/models answers 401" in report.reason
