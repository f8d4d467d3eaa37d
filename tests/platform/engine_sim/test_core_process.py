"""The engine core as a process of its own: what the operating system does to it, users see.

What is expected was recorded from vLLM 0.33, whose core is a process too.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from inference_platform.engine_sim.core import Core
from inference_platform.engine_sim.core_process import TITLE, _Loop

BOUND_S = 10.0
DEAD_TEXT = "The server had an error while processing your request."
LATE_TEXT = "cannot schedule new futures after shutdown"


class Split:
    """An engine whose core has a process of its own."""

    def __init__(self, engine: Any) -> None:
        self.process: subprocess.Popen[str] = engine.process
        self.log: Callable[[], str] = engine.log
        self.url: str = engine.url()
        found = re.search(r"engine core \[(\d+)\]", engine.log())
        assert found is not None
        self.core_pid = int(found[1])
        assert self.core_pid != self.process.pid

    def chat(self, *, stream: bool = False, tokens: int = 4000) -> requests.Response:
        """Ask for many tokens."""
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens}
        return requests.post(
            f"{self.url}/v1/chat/completions",
            json={**body, "ignore_eos": True, "stream": stream},
            stream=stream,
            timeout=BOUND_S,
        )

    def stream(self, tokens: int = 4000) -> Iterator[bytes]:
        """Start a stream, wait for its first event and return its lines."""
        lines = self.chat(stream=True, tokens=tokens).iter_lines(chunk_size=1)
        next(lines)
        return lines

    def status(self, path: str) -> int | None:
        """Return the status of a GET, None when nobody listens."""
        try:
            return requests.get(self.url + path, timeout=BOUND_S).status_code
        except requests.exceptions.ConnectionError:
            return None

    def vllm_metrics(self) -> str:
        """Return the engine's own samples, without those of HTTP and of the process."""
        page = requests.get(self.url + "/metrics", timeout=BOUND_S).text
        return "\n".join(line for line in page.splitlines() if line.startswith("vllm:"))


@pytest.fixture
def split(spawn: Callable[..., Any]) -> Callable[..., Split]:
    """Start an engine with a core of its own."""
    return lambda *argv: Split(spawn("--sim-core-process", *argv))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, its exit status taken or not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def last_events(lines: Iterator[bytes]) -> list[bytes]:
    """Read to the end and return the last two events."""
    return [line for line in lines if line][-2:]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_core_is_found_by_vllms_name(split: Callable[..., Split]) -> None:
    """`ps` and `pgrep -f` tell it from the API server."""
    engine = split()
    proc = Path(f"/proc/{engine.core_pid}")
    assert proc.joinpath("comm").read_text().strip() == "VLLM::EngineCor"  # 15 characters
    assert proc.joinpath("cmdline").read_bytes().rstrip(b"\0") == TITLE
    assert b"engine_sim" in Path(f"/proc/{engine.process.pid}/cmdline").read_bytes()


def test_a_killed_core_fails_what_runs_and_the_server_ends_with_exit_code_0(
    split: Callable[..., Split],
) -> None:
    """death.sigkill_enginecore: error events and `[DONE]`, a 500, then the end at once."""
    engine = split()
    lines = engine.stream()
    whole: list[requests.Response] = []
    waiter = threading.Thread(target=lambda: whole.append(engine.chat()))
    waiter.start()
    while "vllm:num_requests_running" not in (page := engine.vllm_metrics()) or " 2.0" not in next(
        line for line in page.splitlines() if line.startswith("vllm:num_requests_running{")
    ):
        pass
    os.kill(engine.core_pid, signal.SIGKILL)
    error, done = last_events(lines)
    assert json.loads(error.removeprefix(b"data: "))["error"]["message"] == DEAD_TEXT
    assert done == b"data: [DONE]"
    waiter.join(BOUND_S)
    assert whole[0].status_code == 500
    assert engine.process.wait(3) == 0
    assert "[shutdown] MPClient: engine core exited unexpectedly" in engine.log()


def test_a_killed_core_with_streams_alone_leaves_the_end_to_the_watchdog(
    split: Callable[..., Split], until: Callable[..., None]
) -> None:
    """Probes are 503 until the watchdog looks."""
    engine = split("--sim-watchdog-s", "1")
    lines = engine.stream()
    os.kill(engine.core_pid, signal.SIGKILL)
    assert last_events(lines)[-1] == b"data: [DONE]"
    assert engine.status("/health") == 503
    until(lambda: engine.process.poll() is not None, "the watchdog to end it")
    assert engine.process.returncode == 0


def test_a_killed_core_may_leave_its_server_up(
    split: Callable[..., Split], monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    """VLLM_KEEP_ALIVE_ON_ENGINE_DEATH=1: 503 and 500, and SIGTERM still ends it with 0."""
    monkeypatch.setenv("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "1")
    engine = split("--sim-watchdog-s", "0.1")
    os.kill(engine.core_pid, signal.SIGKILL)
    until(lambda: engine.status("/health") == 503, "the server to notice")
    assert engine.chat().json()["error"]["message"] == DEAD_TEXT
    assert engine.status("/v1/models") == 200
    assert engine.process.poll() is None
    engine.process.send_signal(signal.SIGTERM)
    assert engine.process.wait(3) == 0


def test_a_stopped_core_is_the_grey_failure(split: Callable[..., Split]) -> None:
    """SIGSTOP: probes 200, no token, every counter frozen, requests wait; SIGCONT: all go on."""
    engine = split("--sim-step-base-s", "0.002")
    lines = engine.stream(tokens=300)
    os.kill(engine.core_pid, signal.SIGSTOP)
    late: list[requests.Response] = []
    waiter = threading.Thread(target=lambda: late.append(engine.chat(tokens=3)))
    try:
        before = engine.vllm_metrics()  # what was on its way has arrived: it came first
        while before != (before := engine.vllm_metrics()):
            pass
        waiter.start()
        for _ in range(20):
            assert engine.status("/health") == 200
        assert engine.vllm_metrics() == before
        assert not late
    finally:
        os.kill(engine.core_pid, signal.SIGCONT)
    waiter.join(BOUND_S)
    assert late[0].status_code == 200
    text = b"".join(lines).decode()
    assert text.endswith("data: [DONE]")
    assert [int(n) for n in re.findall(r"tok(\d{4,})-", text)][-299:] == [*range(1, 300)]


def test_a_killed_server_takes_its_core_along(
    split: Callable[..., Split], until: Callable[..., None]
) -> None:
    """No core is left behind that nobody can talk to."""
    engine = split()
    engine.process.kill()
    engine.process.wait(BOUND_S)
    until(lambda: is_gone(engine.core_pid), f"core {engine.core_pid} to end")


def test_a_core_that_is_told_to_end_ends_as_if_it_had_failed(split: Callable[..., Split]) -> None:
    """SIGTERM to the core alone: the server did not ask for it, so its requests fail."""
    engine = split("--sim-watchdog-s", "0.2")
    lines = engine.stream()
    os.kill(engine.core_pid, signal.SIGTERM)
    assert last_events(lines)[-1] == b"data: [DONE]"
    assert engine.process.wait(5) == 0
    assert "[shutdown] EngineCore: trigger received signal=SIGTERM" in engine.log()


def test_a_signal_that_comes_during_a_step_is_told_of_before_the_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The alarm is looked for between steps: one that comes later ends the core, and is said."""
    ours, theirs = socket.socketpair()
    loop = _Loop(theirs, drain_s=0.0)

    class Busy:
        next_at, unfinished = 0.0, 1

        def advance(self, now: float) -> None:
            del now
            loop._on_sigterm(signal.SIGTERM, None)  # as the interpreter would, here

    with ours, theirs:
        assert loop._serve(cast("Core", Busy())) == 0

    said = "".join(capfd.readouterr())
    assert "[shutdown] EngineCore: trigger received signal=SIGTERM" in said


# One row a recording of `sigterm.jsonl`: flags, signal, tokens asked for and the step they take
# (so that the work is shorter or longer than the timeout), whether the stream ends well, whether
# clients that come later are refused (None) or answered 500.
SIGTERMS = [
    ("timeout0", (), signal.SIGTERM, 4000, False, None),
    ("sigint_timeout0", (), signal.SIGINT, 4000, False, None),
    ("timeout10", ("--shutdown-timeout", "10"), signal.SIGTERM, 80, True, 500),
    ("timeout2", ("--shutdown-timeout", "0.4"), signal.SIGTERM, 4000, False, 500),
    ("timeout10_second_signal", ("--shutdown-timeout", "10"), signal.SIGTERM, 80, True, 500),
]


@pytest.fixture(scope="module")
def signalled(together: Callable[..., Any], until: Callable[..., None]) -> dict[str, Future[None]]:
    """What came of each row, at once."""
    futures = together(signal_and_look, [(until, *row) for row in SIGTERMS])
    return dict(zip([row[0] for row in SIGTERMS], futures, strict=True))


@pytest.mark.parametrize("name", [row[0] for row in SIGTERMS])
def test_a_signal_does_what_it_does_to_vllm(signalled: dict[str, Future[None]], name: str) -> None:
    """Streams hang or end, late clients are refused or get a 500, the exit code is 0."""
    signalled[name].result(60)


def signal_and_look(
    spawn: Callable[..., Any],
    until: Callable[..., None],
    name: str,
    flags: tuple[str, ...],
    signum: int,
    tokens: int,
    ends_well: bool,
    late: int | None,
) -> None:
    """Signal an engine that streams, and check what its clients see."""
    process = spawn("--sim-step-base-s", "0.01", *flags)
    url = process.url()
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": tokens}
    body |= {"ignore_eos": True, "stream": True}
    chat = url + "/v1/chat/completions"
    stream = requests.post(
        chat, json=body, stream=True, timeout=(BOUND_S, BOUND_S if ends_well else 0.7)
    )
    lines = stream.iter_lines(chunk_size=1)
    next(lines)
    process.process.send_signal(signum)
    until(lambda: "shutdown triggered" in process.log(), "the signal to arrive")
    if name.endswith("second_signal"):
        process.process.send_signal(signum)
    try:
        seen = requests.post(chat, json=body, timeout=BOUND_S)
    except requests.exceptions.ConnectionError:
        assert late is None
    else:
        assert (seen.status_code, seen.json()["error"]["message"]) == (late, LATE_TEXT)
        assert requests.get(url + "/health", timeout=BOUND_S).status_code == 200
    if ends_well:
        assert last_events(lines)[-1] == b"data: [DONE]"
    else:
        with pytest.raises(requests.exceptions.ConnectionError, match="Read timed out"):
            for _ in lines:
                pass
        assert process.process.poll() is None
    stream.close()
    assert process.process.wait(5) == 0
    if late is not None:
        assert "[shutdown] EngineCore: draining in-flight requests count=1" in process.log()


def test_a_second_sigterm_while_loading_is_death_by_sigint(
    spawn: Callable[..., Any], until: Callable[..., None]
) -> None:
    """sigterm_startup2.two_sigterms: the first is lost, the second a KeyboardInterrupt."""
    engine = spawn("--sim-startup-s", "30")
    until(lambda: "V1 LLM engine" in engine.log() and "version" in engine.log(), "it to load")
    core = re.search(r"\(EngineCore pid=(\d+)\)", engine.log())
    assert core is not None
    engine.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        engine.process.wait(0.3)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.process.wait(BOUND_S) == -signal.SIGINT
    assert engine.log().splitlines()[-1].endswith("KeyboardInterrupt: terminated")
    until(lambda: is_gone(int(core[1])), "the core to end")
