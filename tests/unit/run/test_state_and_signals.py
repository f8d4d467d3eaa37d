"""What outlives a run's process, and how a signal ends one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from faultload.errors import ExitCode, Interrupted, MissingError, RefusedError, UsageError
from faultload.faults import SessionFile, revert_unreverted
from faultload.record import InjectionEntry, InjectionStep
from faultload.run.signals import SignalGuard
from faultload.run.state import RunState, left_behind, refuse_if_harmed
from faultload.targets import TargetLock, state_home


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep state in the test's own folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def in_force(state: RunState) -> None:
    """Write a fault that was begun and never undone."""
    state.journal.append(InjectionEntry("k-1", InjectionStep.PLANNED, "kill_replica", 1.0))
    state.journal.append(InjectionEntry("k-1", InjectionStep.INJECTING, "kill_replica", 2.0))


def test_second_run_on_a_target_is_refused(tmp_path: Path) -> None:
    """One run a target: the refusal names the holder."""
    with TargetLock(tmp_path, "run-1"), pytest.raises(RefusedError, match="run-1"):
        TargetLock(tmp_path, "run-2").__enter__()


def test_lock_is_free_once_its_holder_is_dead(tmp_path: Path) -> None:
    """A killed holder leaves no lock behind, whatever it had no time to do."""
    code = textwrap.dedent(f"""
        import os, pathlib, signal
        from faultload.targets import TargetLock
        TargetLock(pathlib.Path({str(tmp_path)!r}), "dead").__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", code], check=False)

    assert done.returncode == -signal.SIGKILL
    with TargetLock(tmp_path, "next"):
        pass


def test_harmed_target_is_refused_until_recovered(tmp_path: Path) -> None:
    """A fault begun and not proven gone blocks the next run, and the refusal says what to do."""
    state = RunState.create("f" * 16, "run-1", tmp_path)
    refuse_if_harmed("f" * 16)
    in_force(state)

    with pytest.raises(RefusedError, match="run-1.*faultload recover"):
        refuse_if_harmed("f" * 16)
    refuse_if_harmed("e" * 16)

    assert [s.folder.name for s in left_behind()] == ["run-1"]


def test_gone_platform_took_its_fault_with_it(tmp_path: Path) -> None:
    """Where the platform no longer exists nothing is in force; the journal says why."""
    target = tmp_path / "t.yaml"
    target.write_text("name: t\nkind: local\nlocal: {config: x.yaml}\n", encoding="utf-8")
    state = RunState.create("f" * 16, "run-1", tmp_path)
    in_force(state)
    session = SessionFile(
        str(target), {"state": str(tmp_path / "nowhere")}, str(state.journal.path)
    )

    outcomes = revert_unreverted(session)

    assert "the platform is gone" in outcomes[0]["text"]
    assert state.journal.unreverted() == []


def test_unwritable_state_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State that cannot be kept is refused before anything starts, with the variable to set."""
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(file))

    with pytest.raises(UsageError, match="XDG_STATE_HOME"):
        state_home()


def test_session_without_a_platform_says_how_to_start_one() -> None:
    """Stock `chaos run` with no platform up gets a remedy, not a traceback."""
    with pytest.raises(MissingError, match="faultload platform up"):
        SessionFile.find()


def test_first_signal_interrupts_once() -> None:
    """The first signal raises; those after it are ignored while the run is put back."""
    guard = SignalGuard()
    with guard.installed():
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    assert caught.value.exit_code == ExitCode.SIGTERM
    assert guard.received == signal.SIGTERM


def test_shield_only_notes_a_signal() -> None:
    """A revert is never cut short: a signal meanwhile is noted and nothing else."""
    guard = SignalGuard()
    with guard.installed(), guard.shield():
        os.kill(os.getpid(), signal.SIGINT)

    assert guard.received == signal.SIGINT
