"""The commands that the chart gives to Kubernetes do on processes what the chart says they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests
from charts import Object, pod_templates, render

_WAIT_S_MAX = 30.0


def _engine(*layers: str) -> Object:
    """Return the container of the pod that serves; of a group it is the first."""
    _, template = next(pod_templates(render("vllm", *layers)))
    engine: Object = template["spec"]["containers"][0]
    return engine


def _warm_up(url: str, key: str = "") -> subprocess.CompletedProcess[str]:
    """Run the startup probe's command against another address than the pod's own."""
    _, *rest = _engine("dev-simulator")["startupProbe"]["exec"]["command"]
    assert sum("http://127.0.0.1:8000" in part for part in rest) == 1
    command = [sys.executable, *(part.replace("http://127.0.0.1:8000", url) for part in rest)]
    env = {"PATH": os.environ["PATH"], **({"VLLM_API_KEY": key} if key else {})}
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=_WAIT_S_MAX, check=False
    )


@contextmanager
def _answering(status: int, body: object, seen: list[str] | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if seen is not None:
                seen.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_GET(self) -> None:
            if seen is not None:
                seen.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_GOOD = {"usage": {"completion_tokens": 8}}


def test_first_answer_makes_it_ready() -> None:
    """The probe succeeds with a token, and with the key that clients bring."""
    seen: list[str] = []
    with _answering(200, _GOOD, seen) as url:
        done = _warm_up(url, key="secret")
    assert (done.returncode, done.stderr) == (0, "")
    assert seen == ["Bearer secret"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, {}, "no first answer yet: HTTP Error 500"),
        (503, {}, "no first answer yet: HTTP Error 503"),
        (200, {"usage": {"completion_tokens": 0}}, "has no token"),
    ],
)
def test_engine_without_a_token_is_not_ready(status: int, body: object, said: str) -> None:
    """Kubelet shows the line in the pod's events: what was asked, and what came."""
    with _answering(status, body) as url:
        done = _warm_up(url)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_engine_that_does_not_listen_is_not_ready() -> None:
    """An engine refuses connections until it is loaded: that is no error, only not yet."""
    with _answering(200, _GOOD) as url:
        pass
    done = _warm_up(url)
    assert done.returncode == 1
    assert "no first answer yet" in done.stderr


def _ask_leader(url: str) -> subprocess.CompletedProcess[str]:
    """Run the readiness probe of a pod that helps, with the port of `url` for the leader's."""
    *_, (_, template) = pod_templates(render("vllm", "multi-node"))
    (helping,) = template["spec"]["containers"]
    _, *rest = helping["readinessProbe"]["exec"]["command"]
    host, port = url.removeprefix("http://").split(":")
    assert sum(":8000" in part for part in rest) == 1
    return subprocess.run(
        [sys.executable, *(part.replace(":8000", f":{port}") for part in rest)],
        env={"PATH": os.environ["PATH"], "LWS_LEADER_ADDRESS": host},
        capture_output=True,
        text=True,
        timeout=_WAIT_S_MAX,
        check=False,
    )


@pytest.mark.parametrize(("status", "said"), [(200, ""), (503, "503")])
def test_pod_that_helps_is_ready_with_its_leader(status: int, said: str) -> None:
    """A group that loads is away as a whole, or nodes are drained until all groups load at once."""
    seen: list[str] = []
    with _answering(status, {}, seen) as url:
        done = _ask_leader(url)
    assert (done.returncode == 0, seen) == (status == 200, ["/health"])
    assert said in done.stderr


def test_pod_that_helps_is_not_ready_before_its_leader_listens() -> None:
    """An engine refuses connections until it has loaded; the line says who was asked."""
    with _answering(200, {}) as url:
        pass
    done = _ask_leader(url)
    assert done.returncode == 1
    assert "/health: " in done.stderr
    assert "Traceback" not in done.stderr


def test_simulator_starts_with_the_chart_s_own_arguments(tmp_path: Path) -> None:
    """The pod of the dev values is run as a process: it comes up, warms up, answers and ends."""
    engine = _engine("dev-simulator")
    changed = {"--port=8000": "--port=0", "--host=0.0.0.0": "--host=127.0.0.1"}
    arguments = [changed.get(one, one) for one in engine["args"]]
    arguments = [one.replace("startup-s=5", "startup-s=0.5") for one in arguments]
    log = tmp_path / "log"
    env = {**os.environ, **{one["name"]: one["value"] for one in engine["env"]}}
    # The paths in a pod are none of this machine.
    env |= {name: str(tmp_path) for name, value in env.items() if value.startswith("/cache")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *engine["command"][1:], *arguments, "--sim-die-with-parent"],
            stdout=out,
            stderr=out,
            env=env,
        )
    try:
        url = _address(log, process)
        done = _warm_up(url)
        assert done.returncode == 0, done.stderr + log.read_text()
        assert requests.get(f"{url}/health", timeout=_WAIT_S_MAX).status_code == 200
        process.terminate()
        assert process.wait(_WAIT_S_MAX) == 0
    finally:
        process.kill()
        process.wait()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Return where it serves, once it does."""
    deadline = time.monotonic() + _WAIT_S_MAX
    while "startup complete" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    lines = [line for line in log.read_text().splitlines() if "http://127.0.0.1:" in line]
    return "http://127.0.0.1:" + lines[-1].split("http://127.0.0.1:")[1].split()[0].split("/")[0]
