"""The process: start, signals, exit codes. Real processes on loopback.

Signals are tried here with the core in the server's process; `test_core_process` has the other.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

BOUND_S = 10.0
MESSAGES = [{"role": "user", "content": "hello"}]


def start_stream(url: str, tokens: int) -> requests.Response:
    """Open a streaming chat."""
    body = {"messages": MESSAGES, "max_tokens": tokens, "ignore_eos": True, "stream": True}
    return requests.post(
        url + "/v1/chat/completions", json=body, stream=True, timeout=(BOUND_S, 0.5)
    )


def refuses(url: str) -> bool:
    """Whether nobody listens there."""
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return True
    return False


def test_an_idle_engine_exits_0_soon_after_a_signal(together: Callable[..., Any]) -> None:
    """Nothing in flight means nothing to wait for, draining or not."""

    def signal_it(spawn: Callable[..., Any], signum: int, *flags: str) -> None:
        engine = spawn("--no-sim-core-process", *flags)
        engine.url()
        engine.process.send_signal(signum)
        assert engine.process.wait(3) == 0
        assert "[shutdown] API server: shutdown triggered" in engine.log()

    signums, drains = (signal.SIGTERM, signal.SIGINT), ((), ("--shutdown-timeout", "5"))
    rows = [(signum, *flags) for signum in signums for flags in drains]
    for row in together(signal_it, rows):
        row.result(30)


def test_without_a_shutdown_timeout_streams_hang_until_their_clients_leave(
    spawn: Callable[..., Any], until: Callable[..., None]
) -> None:
    """The default: no more tokens, no end, nobody new; exit 0 when everybody has left."""
    engine = spawn("--no-sim-core-process")
    url = engine.url()
    stream = start_stream(url, 300)  # would take two seconds and a half
    events = stream.iter_lines(chunk_size=1)
    next(events)
    engine.process.send_signal(signal.SIGTERM)
    until(lambda: refuses(url), "new connections to be refused")
    with pytest.raises(requests.exceptions.ConnectionError, match="Read timed out"):
        for _ in events:
            pass
    assert engine.process.poll() is None
    stream.close()
    assert engine.process.wait(3) == 0


def test_a_drain_finishes_what_runs_and_refuses_what_comes(spawn: Callable[..., Any]) -> None:
    """With a timeout: streams end well, late requests get vLLM's 500, probes stay 200, exit 0."""
    engine = spawn("--no-sim-core-process", "--shutdown-timeout", "10", "--sim-step-base-s", "0.02")
    url = engine.url()
    stream = start_stream(url, 30)
    lines = stream.iter_lines(chunk_size=1)
    next(lines)
    engine.process.send_signal(signal.SIGTERM)
    one = {"messages": MESSAGES, "max_tokens": 1}
    late = requests.post(url + "/v1/chat/completions", json=one, timeout=BOUND_S)
    while late.status_code == 200:  # the signal is still on its way
        late = requests.post(url + "/v1/chat/completions", json=one, timeout=BOUND_S)
    assert late.json()["error"]["message"] == "cannot schedule new futures after shutdown"
    assert requests.get(url + "/health", timeout=BOUND_S).status_code == 200
    engine.process.send_signal(signal.SIGTERM)  # a second signal changes nothing
    assert [line for line in lines if line][-1] == b"data: [DONE]"
    stream.close()
    assert engine.process.wait(3) == 0


def test_a_drain_that_is_too_short_leaves_the_rest_hanging(
    spawn: Callable[..., Any], until: Callable[..., None]
) -> None:
    """After the timeout it is as if there had been none."""
    engine = spawn("--no-sim-core-process", "--shutdown-timeout", "0.2")
    url = engine.url()
    stream = start_stream(url, 8000)
    next(stream.iter_lines(chunk_size=1))
    engine.process.send_signal(signal.SIGTERM)
    until(lambda: refuses(url), "new connections to be refused")
    assert engine.process.poll() is None
    stream.close()
    assert engine.process.wait(3) == 0


def test_it_refuses_connections_until_it_has_loaded(
    spawn: Callable[..., Any], until: Callable[..., None]
) -> None:
    """The port is bound but not listening; a SIGTERM meanwhile is lost, as in vLLM."""
    began = time.monotonic()
    engine = spawn("--sim-startup-s", "0.8")
    until(lambda: "version 0.33.0" in engine.log(), "the engine to load")
    assert "Starting vLLM server" not in engine.log()
    engine.process.send_signal(signal.SIGTERM)
    url = engine.url()
    assert time.monotonic() - began >= 0.75
    assert requests.get(url + "/health", timeout=BOUND_S).status_code == 200


def test_it_shuts_down_when_nobody_reads_its_log() -> None:
    """A log pipe whose reader has gone must not keep a signal from being obeyed."""
    command = [sys.executable, "-m", "inference_platform.engine_sim", "--port", "0"]
    with subprocess.Popen(
        [*command, "--sim-die-with-parent"], stderr=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stderr is not None
        while "startup complete" not in engine.stderr.readline():
            assert engine.poll() is None
        engine.stderr.close()
        engine.send_signal(signal.SIGTERM)
        try:
            assert engine.wait(BOUND_S) in (0, 120)  # 120: Python could not flush stderr at exit
        finally:
            engine.kill()


def test_a_port_that_is_taken_is_one_line_and_exit_1(spawn: Callable[..., Any]) -> None:
    """The reason names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        engine = spawn("--port", str(port))
        assert engine.process.wait(BOUND_S) == 1
    lines = engine.log().splitlines()
    assert len(lines) == 1
    assert f"cannot bind 127.0.0.1:{port}: Address already in use" in lines[0]


def test_a_cache_too_small_for_one_request_is_exit_1(spawn: Callable[..., Any]) -> None:
    """As vLLM: what could never serve a full context does not start, and says what to change."""
    engine = spawn("--sim-kv-blocks", "100", "--max-model-len", "2048")
    assert engine.process.wait(BOUND_S) == 1
    assert "Engine core initialization failed" in engine.log()
    assert "raise --sim-kv-blocks or lower --max-model-len" in engine.log()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_it_dies_with_its_parent(until: Callable[..., None]) -> None:
    """A killed parent leaves no engine behind."""
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'inference_platform.engine_sim',"
        " '--port', '0', '--sim-die-with-parent'], stderr=subprocess.PIPE, text=True)\n"
        "while 'complete' not in child.stderr.readline(): pass\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        timer = threading.Timer(BOUND_S, parent.kill)
        timer.start()
        child = int(parent.stdout.readline())
        timer.cancel()
        parent.kill()

    def is_gone() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{child}/stat").read_text(encoding="ascii")
        return stat.rpartition(")")[2].split()[0] == "Z"

    until(is_gone, f"engine {child} to die with its parent")
