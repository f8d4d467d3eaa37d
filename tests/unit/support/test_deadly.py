"""Killed at a step is killed right after that step is on the disk, and nobody outlives a parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from deadly import Death, Who, arm
from projects import ROOT, processes_mentioning, wait_for

from faultload.errors import FaultError
from faultload.faults import FAULTS
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep

FAULT = "kill_replica"

ACTS = """
import os, time
from pathlib import Path
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep
from faultload.run.chaos import ChaosChild

def act(folder):
    journal = InjectionJournal(Path(folder) / "injections.jsonl")
    for step in InjectionStep:
        journal.append(InjectionEntry("one", step, "kill_replica", 0.0))

if __name__ == "__main__":
    here = Path(os.environ["HERE"])
    child = ChaosChild(here / "experiment.yaml", here / "journal.json", here / "session.json", here)
    child.release()
    while child.exit_code() is None:
        time.sleep(0.02)
    raise SystemExit(7)
"""
"""A supervisor of the real chaos child, and what the child's experiment does."""


class DiedError(Exception):
    """Stands in for a death in a process that is to go on."""


def die() -> None:
    """Die, as far as a test can."""
    raise DiedError


def test_the_entry_is_on_the_disk_when_death_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other faults and other steps go by; the one that is meant is the last line."""
    monkeypatch.setattr(InjectionJournal, "append", InjectionJournal.append)
    arm(FAULT, InjectionStep.INJECTED, die)
    journal = InjectionJournal(tmp_path / "injections.jsonl")
    moments = [("other", InjectionStep.INJECTED), (FAULT, InjectionStep.INJECTING)]

    for fault, step in moments:
        journal.append(InjectionEntry("one", step, fault, 0.0))
    with pytest.raises(DiedError):
        journal.append(InjectionEntry("one", InjectionStep.INJECTED, FAULT, 0.0))

    found = [(entry.fault, entry.step) for entry in journal.entries()]
    assert found == [*moments, (FAULT, InjectionStep.INJECTED)]


def test_a_fault_fails_where_that_is_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fault fails of its own accord: its proof does, so that the journal gets the entry."""
    fault = FAULTS[FAULT]
    monkeypatch.setattr(InjectionJournal, "append", InjectionJournal.append)
    monkeypatch.setattr(fault, "verify", fault.verify)  # type: ignore[attr-defined]
    arm(FAULT, InjectionStep.FAILED, die)

    with pytest.raises(FaultError, match="its proof fails"):
        fault.verify(None, None)  # type: ignore[attr-defined]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux kills orphans")
def test_the_chaos_child_dies_with_its_supervisor_before_the_next_step(tmp_path: Path) -> None:
    """A SIGKILL leaves the supervisor no time to end anybody: the kernel does it."""
    (tmp_path / "acting.py").write_text(ACTS, encoding="utf-8")
    provider = {"type": "python", "module": "acting", "func": "act"}
    action = {"name": "act", "type": "action"}
    played = {**action, "provider": {**provider, "arguments": {"folder": str(tmp_path)}}}
    document = {"title": "t", "description": "d", "method": [played], "rollbacks": []}
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    places = [str(tmp_path), *(str(ROOT / place) for place in ("src", "platform/src"))]
    environment = {**os.environ, "HERE": str(tmp_path), "PYTHONPATH": os.pathsep.join(places)}
    death = Death(FAULT, InjectionStep.INJECTED, Who.SUPERVISOR, tmp_path / "mark")

    done = subprocess.run(death.command("acting"), env=environment, check=False, timeout=60)

    died_s = time.monotonic()
    wait_for(lambda: not processes_mentioning(str(tmp_path)), 20, "the child to be gone")
    assert time.monotonic() - died_s < 10, "it ended itself and was not ended"
    assert done.returncode == -signal.SIGKILL
    assert death.mark.exists()
    steps = [entry.step for entry in InjectionJournal(tmp_path / "injections.jsonl").entries()]
    assert steps[-1] is InjectionStep.INJECTED
