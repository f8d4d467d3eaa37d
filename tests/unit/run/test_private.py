"""Records, reports and state are their owner's alone, whatever the umask is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory import Platform, replica

from faultload.cli import invoke
from faultload.record import InjectionEntry, InjectionStep, Outcome
from faultload.run.judging import judge_and_report
from faultload.run.plan import prepare
from faultload.run.progress import Silent
from faultload.run.recover import recover
from faultload.run.state import RunState
from faultload.run.supervisor import Supervisor
from faultload.spec import Catalogue
from faultload.targets import TargetLock, state_home

ROOT = Path(__file__).parents[3]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Forbid nobody anything; keep state and reports in a folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(ROOT)
    before = os.umask(0)
    yield tmp_path
    assert os.umask(before) == 0, "the umask was not given back"


def open_to_others(folder: Path) -> list[str]:
    """Return what somebody else could read, list or change."""
    found = [path for path in folder.rglob("*") if path.stat().st_mode & 0o077]
    return [f"{path.stat().st_mode:o} {path.relative_to(folder)}" for path in found]


def test_a_run_is_private(home: Path) -> None:
    """Its record, its reports, and its state while it goes on."""
    plan = prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=home / "reports")
    with Supervisor(plan, Platform(replica("a"), replica("b")), Silent()) as run:
        run.tell("harness", "said", "something")
        assert (home / "reports").stat().st_mode & 0o777 == 0o700
        assert open_to_others(home / "state" / "faultload") == []
        run.seal(Outcome.STOPPED, "it was only looked at")
        judge_and_report(run.directory)
        assert len(open_to_others(home / "reports")) == 0
        assert (run.directory.path / "report.html").stat().st_mode & 0o777 == 0o600


def test_what_recovery_writes_is_private(home: Path) -> None:
    """The harness that died had no say in it."""
    state = RunState.create("f" * 16, "run-1", home)
    state.journal.append(InjectionEntry("k-1", InjectionStep.INJECTING, "kill_replica", 1.0))
    assert "not a session" in recover()[0].problem
    with TargetLock(state.target_home, "other"):
        assert (state.target_home / "lock").stat().st_mode & 0o777 == 0o600


def test_what_a_command_writes_is_private(home: Path) -> None:
    """A trace holds who asked what, and when."""
    words = ["trace", "make", "chat-steady", "--out", str(home / "trace.parquet")]
    assert invoke([*words, "--duration", "1"]) == 0
    assert open_to_others(home) == []


def test_state_that_others_could_list_is_closed(home: Path) -> None:
    """Somebody else may have made the folder."""
    (home / "state" / "faultload").mkdir(parents=True, mode=0o777)
    assert state_home().stat().st_mode & 0o777 == 0o700
