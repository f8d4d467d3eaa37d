"""A whole run, with secrets in its environment and its experiment, leaves none of them behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from planted import ProcessList, traces_of
from planted_scenes import value_of
from projects import Project, processes_mentioning, wait_for

pytestmark = [pytest.mark.local, pytest.mark.full]

QUICK = ("--set", "cold_start_s=1", "--set", "model_store.enabled=false")
VARIABLES = {
    "OPENAI_API_KEY": value_of(60),
    "AWS_SECRET_ACCESS_KEY": value_of(61),
    "HF_TOKEN": value_of(62),
    "PROMETHEUS_PASSWORD": value_of(63),
    "ENDPOINT_KEY": value_of(64),
    "PROBE_PIN": value_of(65),
}
PROXY = value_of(66)


def with_a_secret(document: dict[str, Any]) -> None:
    """Have the experiment read one; probes that could show it to others are refused."""
    document["secrets"] = {"api": {"pin": {"type": "env", "key": "PROBE_PIN"}}}


@pytest.fixture
def armed(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project whose runs are told secrets in every way."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTP_PROXY", f"http://eva:{PROXY}@127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    path = project.path / "targets" / "local.yaml"
    path.write_text(f"{path.read_text()}load: {{api_key_env: ENDPOINT_KEY}}\n", encoding="utf-8")
    project.experiment("replica-loss", with_a_secret)
    return project


def tokens_of(pids: list[int]) -> set[str]:
    """Return the tokens of the platforms that some processes belong to: their owner reads them."""
    found = set()
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"--state-dir" in words:
            state = Path(os.fsdecode(words[words.index(b"--state-dir") + 1]))
            found |= {path.read_text().strip() for path in state.glob("*token")}
    return found if len(found) > 1 else set()  # the control API's, and the engines'


def check(project: Project, processes: ProcessList, tokens: set[str], said: str) -> None:
    """See that nothing that was told is anywhere, and that what was left is private."""
    (project.path / "said.txt").write_text(said, encoding="utf-8")
    (project.path / "processes.txt").write_text("\n".join(processes.seen), encoding="utf-8")
    assert any("faultload.run.chaos_child" in words for words in processes.seen)
    assert tokens, "no platform was seen"
    for secret in [*VARIABLES.values(), PROXY, *tokens]:
        assert traces_of(secret, project.path) == []
    for folder in (project.path / "reports", project.path / "state"):
        others = [path for path in folder.rglob("*") if path.stat().st_mode & 0o077]
        assert others == []


@contextmanager
def started(project: Project) -> Iterator[tuple[Any, ProcessList, set[str]]]:
    """Start a run that may be read by everybody; give it, what runs beside it, and its tokens."""
    before = os.umask(0)
    try:
        with ProcessList() as processes:
            process = project.start("run", "engine/replica-loss", *QUICK)
            tokens = wait_for(
                lambda: tokens_of(processes_mentioning(str(project.path))), 60, "a platform"
            )
            yield process, processes, tokens
    finally:
        os.umask(before)


def test_a_run_leaves_no_secret_behind(armed: Project) -> None:
    """Record, reports, state, output and process lists hold nothing of what was told."""
    with started(armed) as (process, processes, tokens):
        out, err = process.communicate(timeout=170)
    assert armed.is_judged(process.returncode), err
    check(armed, processes, tokens, out + err)


def test_a_killed_run_leaves_no_secret_behind(armed: Project) -> None:
    """Nothing was sealed, and nobody came to tidy up: what is there was written without them."""
    with started(armed) as (process, processes, tokens):
        wait_for(
            lambda: any(one["kind"] == "activity_completed" for one in armed.events()),
            60,
            "an activity to be over",
        )
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=30)
        armed.is_clean()
    check(armed, processes, tokens, out + err)
    recovered = armed.faultload("recover")
    check(armed, processes, tokens, recovered.stdout + recovered.stderr)
