"""Faults on command: how an engine dies, hangs and slows down, as clients and probes see it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

BOUND_S = 10.0
TOKEN = "chaos-token"
BASE = '{engine="0",model_name="tiny"}'
DEAD = {
    "error": {
        "message": "The server had an error while processing your request.",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
}


class Victim:
    """An engine process and its chaos port."""

    def __init__(self, spawn: Callable[..., Any], directory: Path, *argv: str) -> None:
        token_file = directory / "token"
        token_file.write_text(TOKEN + "\n")
        chaos = ("--sim-chaos-port", "0", "--sim-chaos-token-file", str(token_file))
        self.engine = spawn("--served-model-name", "tiny", *chaos, *argv)
        self.url = self.engine.url()
        found = re.search(r"Chaos port on (http://\S+)", self.engine.log())
        assert found is not None
        self.chaos_url = found[1]

    def do(self, path: str, token: str = TOKEN, **body: object) -> requests.Response:
        """Post a command to the chaos port."""
        headers = {"authorization": f"Bearer {token}"}
        return requests.post(self.chaos_url + path, json=body, headers=headers, timeout=BOUND_S)

    def chat(self, *, kind: str = "chat/completions", **more: Any) -> requests.Response:
        """Ask for many tokens."""
        body: dict[str, Any] = {"max_tokens": 4000, "ignore_eos": True, **more}
        if kind == "completions":
            body["prompt"] = "hello"
        else:
            body["messages"] = [{"role": "user", "content": "hello"}]
        stream = bool(more.get("stream"))
        return requests.post(f"{self.url}/v1/{kind}", json=body, stream=stream, timeout=BOUND_S)

    def get(self, path: str) -> requests.Response:
        """Get a path of the engine."""
        return requests.get(self.url + path, timeout=BOUND_S)

    def tokens(self) -> str:
        """Return the line of the metrics page that counts tokens."""
        page = self.get("/metrics").text
        return next(x for x in page.splitlines() if x.startswith("vllm:generation_tokens_total"))


@pytest.fixture
def victim(
    request: pytest.FixtureRequest,
    spawn: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Victim]:
    """Start an engine that takes faults; its core is a process unless a test says otherwise."""
    mode = getattr(request, "param", "--sim-core-process")
    return lambda *argv: Victim(spawn, tmp_path_factory.mktemp("chaos"), mode, *argv)


# What is the same wherever the core runs.
everywhere = pytest.mark.parametrize(
    "victim", ["--sim-core-process", "--no-sim-core-process"], indirect=True
)


@everywhere
def test_a_dead_engine_fails_everything_and_then_ends_with_exit_code_0(
    victim: Callable[..., Victim],
) -> None:
    """Streams get the error event, others a 500, which ends the server at once."""
    engine = victim()
    chat, completion = engine.chat(stream=True), engine.chat(kind="completions", stream=True)
    answers = [chat.iter_lines(chunk_size=1), completion.iter_lines(chunk_size=1)]
    for lines in answers:
        next(lines)
    whole: list[requests.Response] = []
    waiter = threading.Thread(target=lambda: whole.append(engine.chat()))
    waiter.start()
    assert engine.do("/die").json()["state"] == "dead"
    events = [[line for line in lines if line][-2:] for lines in answers]
    assert events[0] == [
        b"data: " + json.dumps(DEAD, separators=(",", ":")).encode(),
        b"data: [DONE]",
    ]
    assert events[1][0].startswith(b'data: {"error": {"message": "The server had an error')
    waiter.join(BOUND_S)
    assert (whole[0].status_code, whole[0].json()) == (500, DEAD)
    assert engine.engine.process.wait(3) == 0
    assert "EngineCore encountered a fatal error." in engine.engine.log()
    assert "an illegal memory access was encountered" in engine.engine.log()


def test_without_a_failed_answer_a_dead_engine_stays_until_the_watchdog_looks(
    victim: Callable[..., Victim], until: Callable[..., None]
) -> None:
    """Probes are 503 until then; the watchdog looks every 5 s, here every second."""
    engine = victim("--sim-watchdog-s", "1")
    engine.do("/oom")
    assert (engine.get("/health").status_code, engine.get("/ping").status_code) == (503, 503)
    assert engine.get("/v1/models").status_code == 200
    assert "torch.OutOfMemoryError: CUDA out of memory." in engine.engine.log()
    until(lambda: engine.engine.process.poll() is not None, "the watchdog to end it")
    assert engine.engine.process.returncode == 0


def test_a_dead_engine_may_be_kept_up(
    victim: Callable[..., Victim], monkeypatch: pytest.MonkeyPatch
) -> None:
    """VLLM_KEEP_ALIVE_ON_ENGINE_DEATH=1: 503 and 500 for ever, and gauges that stand still."""
    monkeypatch.setenv("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "1")
    engine = victim()
    stream = engine.chat(stream=True)
    lines = stream.iter_lines(chunk_size=1)
    next(lines)
    engine.do("/die")
    assert [line for line in lines if line][-1] == b"data: [DONE]"
    for _ in range(3):
        answer = engine.chat()
        assert (answer.status_code, answer.json()) == (500, DEAD)
    assert engine.get("/health").status_code == 503
    page = engine.get("/metrics").text
    assert f"vllm:num_requests_running{BASE} 1.0" in page
    assert 'finished_reason="error",model_name="tiny"} 0.0' in page
    assert engine.do("/hang", seconds=1).status_code == 409
    assert engine.engine.process.poll() is None


@everywhere
def test_a_hung_engine_looks_healthy_and_gives_no_token(victim: Callable[..., Victim]) -> None:
    """The grey failure: probes 200, every counter frozen; afterwards everything goes on."""
    engine = victim("--sim-step-base-s", "0.004")
    stream = engine.chat(stream=True, max_tokens=100)
    lines = stream.iter_lines(chunk_size=1)
    next(lines)
    assert engine.do("/hang", seconds=600).json()["state"] == "hung"
    before = engine.tokens()
    late = engine.chat(stream=True, max_tokens=5)  # is taken in, and waits
    late_lines = late.iter_lines(chunk_size=1)
    assert engine.get("/health").status_code == 200
    page = engine.get("/metrics").text
    assert f"vllm:num_requests_running{BASE} 1.0" in page
    assert f"vllm:num_requests_waiting{BASE} 0.0" in page
    assert engine.tokens() == before
    assert engine.do("/hang", seconds=0).status_code == 200
    assert [line for line in late_lines if line][-1] == b"data: [DONE]"
    words = re.findall(r'"content":"tok(\d+)', "".join(line.decode() for line in lines))
    assert [int(word) for word in words][-1] == 99


def test_a_slow_engine_is_slower_until_it_is_not(victim: Callable[..., Victim]) -> None:
    """The factor holds from the next step on; 1 undoes it."""
    engine = victim("--sim-step-base-s", "0.01")
    answer = engine.do("/slow", factor=10).json()
    assert (answer["state"], answer["slow_factor"]) == ("serving", 10.0)
    slow_s = engine.chat(max_tokens=4).elapsed.total_seconds()
    assert slow_s >= 4 * 0.1
    assert engine.do("/slow", factor=1).json()["slow_factor"] == 1.0
    assert engine.chat(max_tokens=4).elapsed.total_seconds() < slow_s


@everywhere
def test_the_chaos_port_asks_for_its_token_and_names_what_it_knows(
    victim: Callable[..., Victim],
) -> None:
    """Nobody breaks an engine by accident, and a bad command is one clear line."""
    engine = victim("--sim-fixed-ttft-s", "0.1", "--sim-fixed-tpot-s", "0.01")
    assert engine.do("/die", token="wrong").status_code == 401
    assert engine.do("/explode").status_code == 404
    answer = engine.do("/hang", seconds=-1)
    assert answer.status_code == 400
    expected = 'expected {"seconds": <0 to 86400>} as the body, found \'{"seconds": -1}\''
    assert answer.json()["error"] == expected
    assert engine.do("/slow", factor=2).status_code == 409
    assert engine.get("/health").status_code == 200


def test_a_chaos_port_without_a_token_does_not_start(
    spawn: Callable[..., Any], tmp_path: Path
) -> None:
    """An empty or missing token file ends the process with one line."""
    missing = tmp_path / "no" / "token"
    engine = spawn("--sim-chaos-port", "0", "--sim-chaos-token-file", str(missing))
    assert engine.process.wait(BOUND_S) == 1
    assert len(engine.log().splitlines()) == 1
    assert "cannot read --sim-chaos-token-file" in engine.log()
