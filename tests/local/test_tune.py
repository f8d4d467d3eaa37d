"""A sweep of the batch limit on real local platforms: small, and slow all the same."""

from __future__ import annotations

import json
import signal

import pytest
from projects import Project, wait_for

_SMALL = ["--model", "chat-fast", "--warmup-s", "2", "--for-s", "5"]


@pytest.mark.local
@pytest.mark.full
def test_a_larger_batch_serves_more_tokens_later_and_cheaper(project: Project) -> None:
    """Two settings of real processes: the engines had the batches that were asked for."""
    sizes = ["--sizes", "2,12", "--slo", "chat-tpot"]
    done = project.faultload("tune", "batch", *_SMALL, *sizes, "--json", timeout_s=240)

    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    assert done.returncode == said["exit_code"]
    small, large = said["settings"]
    assert (small["batch"], large["batch"]) == (2, 12)
    assert 1.0 < small["engines"]["running"] <= 2.0
    assert 6.0 < large["engines"]["running"] <= 12.0
    assert large["tokens_per_s"]["low"] > small["tokens_per_s"]["high"]
    assert large["usd_per_1m_tokens"]["high"] < small["usd_per_1m_tokens"]["low"]
    assert large["tpot_s"][0] > small["tpot_s"][0]
    assert said["knee"]["batch"] is None
    project.is_clean()
    stored = project.faultload("tune", "batch", "--runs", f"reports/{said['tune_id']}", "--json")
    assert json.loads(stored.stdout)["choice"] == said["choice"]


@pytest.mark.local
@pytest.mark.full
def test_interrupted_sweep_leaves_nothing_behind(project: Project) -> None:
    """Ctrl-C under load: exit code 130 within seconds, no process, no half record."""
    process = project.start("tune", "batch", *_SMALL, "--sizes", "4,8")
    logs = "tune-*/runs/*/record/logs/locust-0.log"
    wait_for(lambda: list((project.path / "reports").glob(logs)), 120, "the first load")

    process.send_signal(signal.SIGINT)

    process.communicate(timeout=60)
    assert process.returncode == 130
    project.is_clean()
    assert not list((project.path / "reports").glob("tune-*"))
