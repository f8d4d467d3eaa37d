"""A real platform: real engines, router, Prometheus and Redis; nothing is mocked."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from inference_platform.local import programs
from inference_platform.local.errors import MissingError

START_S_MAX = 40.0
# What waits for a condition loses nothing by a long bound: other tests may need the machine too.
CHANGE_S_MAX = 60.0
FAST = ("cold_start_s=0", "restart.backoff_s=3", "readiness.period_s=0.1")
SMALL = (*FAST, "model_store.enabled=false", "tiers.fast.replicas=1", "tiers.reasoning.replicas=1")


@dataclass
class Running:
    """A platform that was started, and how to talk to it."""

    process: subprocess.Popen[str]
    state_dir: Path

    @property
    def document(self) -> dict[str, Any]:
        """What platform.json says."""
        return json.loads((self.state_dir / "platform.json").read_text())

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None
    ) -> tuple[int, Any]:
        """Ask the control API; return the status and the answer."""
        if token is None:
            token = Path(self.document["token_file"]).read_text()
        headers = {"authorization": f"Bearer {token}"}
        url = self.document["control_url"] + path
        return answer_to(method, url, json=body, headers=headers)

    def state(self) -> dict[str, Any]:
        """What GET /v1/state says."""
        status, answer = self.ask("GET", "/v1/state")
        assert status == 200
        return answer

    def replica(self, name: str) -> dict[str, Any]:
        """One replica's part of the state."""
        return next(r for r in self.state()["replicas"] if r["name"] == name)

    def component(self, name: str) -> dict[str, Any]:
        """One component's part of the state."""
        return next(c for c in self.state()["components"] if c["name"] == name)

    def pids(self) -> list[int]:
        """Process ids of everything the platform started."""
        state = self.state()
        return [part["pid"] for part in (*state["replicas"], *state["components"]) if part["pid"]]

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Ask Prometheus for an instant vector."""
        url = self.document["prometheus_url"] + "/api/v1/query"
        return answer_to("GET", url, params={"query": promql})[1]["data"]["result"]

    def ask_metrics(self, name: str, **labels: str) -> list[str]:
        """Return the lines of a series on the control port's own page."""
        token = Path(self.document["token_file"]).read_text()
        with requests.Session() as session:
            session.trust_env = False
            url = self.document["control_url"] + "/metrics"
            page = session.get(url, headers={"authorization": f"Bearer {token}"}, timeout=10).text
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in page.splitlines() if line.startswith(name + "{")]
        return [line for line in lines if all(one in line for one in wanted)]

    def chat(self, model: str) -> tuple[int, Any]:
        """Send one short request through the router."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 3,
        }
        url = self.document["router_url"] + "/v1/chat/completions"
        return answer_to("POST", url, json=body)

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Return the first true answer of `what`; the platform's state is in the error too."""
        return wait_for(what, context=lambda: json.dumps(self.state(), indent=1))

    def is_gone(self, pid: int) -> bool:
        """Say whether a process has ended."""
        return is_gone(pid)


def answer_to(method: str, url: str, **what: Any) -> tuple[int, Any]:
    """Return the status and the JSON answer of a request, refusals included."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy has a way to our loopback network
        answer = session.request(method, url, timeout=10, **what)
        return answer.status_code, answer.json()


def wait_for(
    what: Callable[[], Any], seconds: float = CHANGE_S_MAX, context: Callable[[], str] = str
) -> Any:
    """Return the first true answer of `what`; its last one and the context are in the error."""
    deadline = time.monotonic() + seconds
    while True:
        last = what()
        if last:
            return last
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s; last seen: {last!r}\n{context()}")
        time.sleep(0.05)


def command(state_dir: Path, *settings: str) -> list[str]:
    """Return a command line that starts a platform."""
    argv = [sys.executable, "-m", "inference_platform.local", "up", "--die-with-parent"]
    argv += ["--state-dir", str(state_dir)]
    return [*argv, *(word for setting in settings for word in ("--set", setting))]


def start(argv: Sequence[str], state_dir: Path) -> Running:
    """Start a platform and wait until it says that it is ready."""
    process = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    platform = Running(process, state_dir)

    def is_up() -> bool:
        if process.poll() is not None and not (state_dir / "platform.json").exists():
            pytest.fail(f"ended with {process.returncode}: {process.communicate()[1]}")
        return (state_dir / "platform.json").exists()

    wait_for(is_up, START_S_MAX)
    return platform


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; one that nobody has reaped yet has."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture(scope="module")
def tools() -> None:
    """Skip where Prometheus or Redis cannot be had."""
    try:
        for name in ("prometheus", "redis-server"):
            programs.find(name)
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def local(tools: None) -> SimpleNamespace:
    """What a test needs to run platforms of its own; conftest files cannot be imported."""
    return SimpleNamespace(
        start=start,
        command=lambda state_dir, *settings: command(state_dir, *SMALL, *settings),
        is_gone=is_gone,
        wait_for=wait_for,
    )


def running(state_dir: Path, *settings: str) -> Iterator[Running]:
    """Run a platform; it must end well on SIGTERM and leave nothing."""
    platform = start(command(state_dir, *settings), state_dir)
    yield platform
    pids = platform.pids()
    platform.process.terminate()
    _, errors = platform.process.communicate(timeout=20)
    assert (platform.process.returncode, errors) == (0, "")
    assert all(is_gone(pid) for pid in pids)
    assert not (state_dir / "platform.json").exists()


@pytest.fixture(scope="module")
def local_of(
    tools: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Iterator[Running]]:
    """Run a platform with settings of one's own, for a module."""
    return lambda *settings: running(tmp_path_factory.mktemp("platform") / "state", *settings)


@pytest.fixture(scope="module")
def platform(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One platform for a whole module."""
    yield from running(tmp_path_factory.mktemp("platform") / "state", *FAST)
