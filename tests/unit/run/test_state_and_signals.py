"""What outlives a run's process, and how a signal ends one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import pytest

from faultload.errors import ExitCode, Interrupted, MissingError, RefusedError, UsageError
from faultload.faults import Plan, SessionFile, revert_unreverted
from faultload.faults.limits import Radius
from faultload.record import InjectionEntry, InjectionStep
from faultload.run import flow
from faultload.run.platform import PlatformUp, down, find_platform, platform_folder
from faultload.run.recover import recover
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


def test_traffic_is_ended_although_the_platform_is_gone(tmp_path: Path) -> None:
    """A sender is no part of the platform: it is told to end, and its folder goes."""
    target, sender = tmp_path / "t.yaml", tmp_path / "sender"
    target.write_text("name: t\nkind: local\nlocal: {config: x.yaml}\n", encoding="utf-8")
    sender.mkdir()
    (sender / "go").touch()
    state = RunState.create("f" * 16, "run-1", tmp_path)
    plan = Plan([], undo={"senders": [str(sender)]}).as_json()
    for step in (InjectionStep.PLANNED, InjectionStep.INJECTING):
        state.journal.append(InjectionEntry("a-1", step, "add_load", 1.0, plan=plan))
    nowhere = {"state": str(tmp_path / "nowhere")}

    (outcome,) = revert_unreverted(SessionFile(str(target), nowhere, str(state.journal.path)))

    assert "its sender has ended" in outcome["text"]
    assert not sender.exists()
    assert state.journal.unreverted() == []


def test_limits_know_what_is_in_force(tmp_path: Path) -> None:
    """The second fault of a method is held against the first; what is undone counts no more."""
    target = tmp_path / "t.yaml"
    target.write_text("name: t\nkind: local\nlocal: {config: x.yaml}\n", encoding="utf-8")
    state = RunState.create("f" * 16, "run-1", tmp_path)
    plan = Plan([], hit={"engine": [1, 4]}).as_json()
    session = SessionFile(str(target), {}, str(state.journal.path), radius={"engine": Radius(1)})
    for step in (InjectionStep.PLANNED, InjectionStep.INJECTING):
        state.journal.append(InjectionEntry("k-1", step, "kill_replica", 1.0, plan=plan))

    with pytest.raises(RefusedError, match="hitting 2 of 4 ready engine replicas by several"):
        session.limits.check("engine", 1, 4)
    undone = InjectionEntry("k-1", InjectionStep.VERIFIED_REVERTED, "kill_replica", 2.0)
    state.journal.append(undone)
    session.limits.check("engine", 1, 4)


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
    """The first signal raises where somebody listens; those after it change nothing."""
    guard = SignalGuard()
    with guard.installed():
        with pytest.raises(Interrupted) as caught, guard.listening():
            signal.raise_signal(signal.SIGTERM)
        with guard.listening():
            signal.raise_signal(signal.SIGINT)

    assert caught.value.exit_code == ExitCode.SIGTERM
    assert guard.received == signal.SIGTERM


def test_signal_while_nobody_listens_is_told_to_the_next() -> None:
    """A revert is never cut short, and the next experiment of the day does not start."""
    guard = SignalGuard()
    with guard.installed():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted), guard.listening():
            pytest.fail("the block was entered")


def test_ignored_signal_stays_ignored() -> None:
    """Under nohup a hang-up means nothing, and we do not change that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        guard = SignalGuard()
        with guard.installed(), guard.listening():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert guard.received is None


def test_pid_of_a_stranger_is_no_platform() -> None:
    """After a crash the pid on file may be anybody's: without the host's lock nothing is up."""
    folder = platform_folder("local")
    folder.mkdir(parents=True)
    about = PlatformUp("local", os.getpid(), "http://x", "http://x", "", "state")
    (folder / "up.json").write_text(json.dumps(asdict(about)), encoding="utf-8")

    assert find_platform("local") is None
    assert down("local") is False
    with TargetLock(folder, "host"):
        assert find_platform("local") == about


def test_one_unreadable_state_does_not_hide_the_next(tmp_path: Path) -> None:
    """`recover` goes on after a run it cannot undo, says what to do, and can be told to forget."""
    for name, content in (("a-bad", '{"attachment": {}}'), ("b-good", None)):
        state = RunState.create("f" * 16, name, tmp_path)
        if content is not None:
            in_force(state)
            state.session_path.write_text(content, encoding="utf-8")

    bad, good = recover()

    assert (bad.run_id, good.run_id) == ("a-bad", "b-good")
    assert "--forget a-bad" in bad.problem
    assert good.problem == ""
    assert [outcome.run_id for outcome in recover()] == ["a-bad"]
    recover(forget="a-bad")
    assert recover() == []
    with pytest.raises(UsageError, match="no run 'a-bad'"):
        recover(forget="a-bad")


def test_target_that_refuses_us_is_no_run_that_still_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a held lock means that; another refusal leaves harm, and is said."""
    state = RunState.create("f" * 16, "run-1", tmp_path)
    in_force(state)
    state.session_path.write_text(
        json.dumps({"target_file": "t", "attachment": {}, "injections": str(state.journal.path)}),
        encoding="utf-8",
    )

    def refuse(session: SessionFile) -> None:
        raise RefusedError(f"{session.target_file}: the context leads to another cluster")

    monkeypatch.setattr("faultload.run.recover.revert_unreverted", refuse)

    (outcome,) = recover()
    assert "another cluster (when it is seen to: faultload recover --forget" in outcome.problem
    with TargetLock(state.target_home, "run-1"):
        assert recover() == []


def test_journal_of_another_version_keeps_the_target_closed(tmp_path: Path) -> None:
    """A journal that cannot be read may hide a fault: refused, never started."""
    state = RunState.create("f" * 16, "run-1", tmp_path)
    line = {"injection_id": "x", "step": "from-the-future", "fault": "f", "time_unix_s": 0}
    state.journal.path.write_text(json.dumps(line) + "\n", encoding="utf-8")

    with pytest.raises(RefusedError, match="faultload recover"):
        refuse_if_harmed("f" * 16)


def test_harm_is_reverted_whatever_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error nobody foresaw ends the run as a defect, after the revert and the seal.

    The result has it, beside the directory of what was recorded until then.
    """
    done: list[str] = []

    class Run:
        directory = None

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            done.append("closed")

        def survey(self) -> None:
            raise ZeroDivisionError

        def __getattr__(self, name: str) -> object:
            return lambda *_: done.append(name)

    plan = type("P", (), {"capabilities": set[str]()})
    target = SimpleNamespace(capabilities=frozenset[str](), missing_rights=lambda _: [])
    monkeypatch.setattr(flow, "Supervisor", lambda *_: Run())
    monkeypatch.setattr(flow, "judge_and_report", lambda _: (None, []))
    monkeypatch.setattr(flow, "admit", lambda *_: None)

    result = flow.run_experiment(plan, target, None)  # type: ignore[arg-type]

    assert isinstance(result.defect, ZeroDivisionError)
    assert result.exit_code == ExitCode.DEFECT
    assert done == ["give_up", "ensure_reverted", "seal", "closed"]
