"""What other tools see: stock Chaos Toolkit, and pytest with our plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from projects import ROOT, Project, chaos_process, everyone_is_ready, wait_for

pytestmark = pytest.mark.local


def test_stock_chaos_run_works_on_a_platform_left_up(left_up: Project) -> None:
    """`chaos run` plays replica-loss, steady state, fault and rollback, with no run of ours.

    The hold outlasts the probe's window of 10 s: the steady state after it is the recovered one.
    """
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    experiment = ROOT / "experiments" / "engine" / "replica-loss.yaml"
    words = ["--var", "hold_s:int=12"]

    process = chaos_process(
        left_up, "run", *words, "--journal-path", "journal.json", str(experiment)
    )
    out, err = process.communicate(timeout=120)

    journal: dict[str, Any] = json.loads((left_up.path / "journal.json").read_text())
    assert process.returncode == 0, out + err
    assert journal["status"] == "completed"
    assert not journal["deviated"], journal
    assert journal["steady_states"]["before"]["steady_state_met"]
    assert [run["status"] for run in journal["run"]] == ["succeeded"]
    assert [run["status"] for run in journal["rollbacks"]] == ["succeeded"]
    assert "ready again after" in journal["rollbacks"][0]["output"][0]["text"]


def pytest_chaos(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a project's experiments."""
    (project.path / "pytest.ini").write_text("[pytest]\ntestpaths = experiments\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rs", "--no-header", *words],
        cwd=project.path,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_pytest_runs_experiments_as_items(left_up: Project) -> None:
    """One item a file; skip, invalid and refused tell their reason; `-k` selects."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")

    def needs_more(document: dict[str, Any]) -> None:
        document["title"] = "A claim that cannot be tried here"
        document["extensions"][0]["requires"] = ["terminate-pods"]

    def at_nothing(document: dict[str, Any]) -> None:
        document["title"] = "A claim whose fault has nothing to hit"
        document["method"][0]["provider"]["arguments"]["tier"] = "none"

    left_up.experiment("pytest-skip", needs_more)
    left_up.experiment("pytest-invalid", at_nothing)

    done = pytest_chaos(left_up, "-m", "chaos", "--target", "local", "-k", "claim")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "A claim that cannot be tried here SKIPPED" in done.stdout
    assert "lacks terminate-pods" in done.stdout
    assert "A claim whose fault has nothing to hit INVALID" in done.stdout
    assert "invalid: " in done.stdout


def test_plain_pytest_breaks_nothing(left_up: Project) -> None:
    """Without `-m chaos` no experiment is collected, let alone run."""
    reports = len(list((left_up.path / "reports").glob("*")))

    done = pytest_chaos(left_up)

    assert "no tests ran" in done.stdout
    assert len(list((left_up.path / "reports").glob("*"))) == reports
