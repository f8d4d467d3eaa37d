"""State that cannot be kept or read is refused before anything starts; one of two runs begins."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from rehearsal import Stage, rehearsal

from faultload.errors import ExitCode, MissingError, RefusedError, UsageError
from faultload.record import InjectionEntry, InjectionStep
from faultload.run.recover import recover
from faultload.run.state import RunState, refuse_if_harmed
from faultload.run.steady import SteadyState
from faultload.targets import TargetLock, keeping_state, state_home

ROOT = Path(__file__).parents[3]
_NOBODY = 65534


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a stage for runs in virtual time."""
    return rehearsal(tmp_path, monkeypatch)


def test_two_that_begin_at_once_are_one(tmp_path: Path) -> None:
    """In every one of many rounds exactly one gets the lock; the others name it: run, pid, host."""
    code = textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from faultload.errors import RefusedError
        from faultload.targets import TargetLock

        name, folder = sys.argv[1], Path(sys.argv[2])

        def everybody_tried(number):
            return len(list(folder.glob(f"{number}-tried-*"))) == 3

        for number in range(20):
            try:
                with TargetLock(folder / str(number), name):
                    print(f"{number} won {os.getpid()}", flush=True)
                    (folder / f"{number}-tried-{name}").touch()
                    until = time.monotonic() + 30
                    while not everybody_tried(number) and time.monotonic() < until:
                        time.sleep(0.001)
            except RefusedError as error:
                print(f"{number} lost {error}", flush=True)
                (folder / f"{number}-tried-{name}").touch()
    """)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, name, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for name in ("run-a", "run-b", "run-c")
    ]
    said = [line for run in runs for line in run.communicate(timeout=60)[0].splitlines()]

    pids = {f"run-{letter}": run.pid for letter, run in zip("abc", runs, strict=True)}
    named = 0
    for number in range(20):
        own = [line.split(" ", 2) for line in said if line.split(" ", 1)[0] == str(number)]
        (won,) = [int(words) for _, what, words in own if what == "won"]
        lost = [words for _, what, words in own if what == "lost"]
        assert len(lost) == 2
        for words in lost:
            if "does not say which" in words:  # its holder had not yet written its name
                continue
            named += 1
            holder = next(name for name, pid in pids.items() if f"{name}, pid {pid} on " in words)
            assert pids[holder] == won
            assert ", since 2" in words
    assert named


def test_second_run_is_refused_with_the_holder(stage: Stage) -> None:
    """The whole run ends before anything is made: 75, who holds the target, what to do."""
    home = state_home() / stage.platform.identity.fingerprint
    with TargetLock(home, "20260101T000000Z-engine-hang-cafe"), pytest.raises(RefusedError) as held:
        stage.run()

    words = str(held.value)
    assert held.value.exit_code == ExitCode.REFUSED
    assert f"20260101T000000Z-engine-hang-cafe, pid {os.getpid()} on " in words
    assert words.endswith("wait for it to end")
    assert (stage.plan.reports.exists(), stage.platform.acts) == (False, [])


def test_run_that_goes_on_is_named_and_not_its_fault(stage: Stage) -> None:
    """While it lives its fault is its own: nobody is sent to `recover` it."""
    fingerprint = stage.platform.identity.fingerprint
    state = RunState.create(fingerprint, "run-1", None)
    for step in (InjectionStep.PLANNED, InjectionStep.INJECTING):
        state.journal.append(InjectionEntry("k-1", step, "kill_replica", 1.0))
    steady = SteadyState(stage.platform)

    with TargetLock(state.target_home, "run-1"), pytest.raises(RefusedError) as held:
        steady.wait(stage.plan)
    with pytest.raises(RefusedError, match="run-1.*faultload recover"):
        steady.wait(stage.plan)

    assert "locked by another run (run-1, pid " in str(held.value)
    assert "recover" not in str(held.value)


def test_lock_that_says_nothing_is_held_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the file is for people; the kernel knows who holds it."""
    monkeypatch.setattr("faultload.targets.state._NAMED_WITHIN_S", 0.0)
    with TargetLock(tmp_path, "run-1"):
        (tmp_path / "lock").write_text("{", encoding="utf-8")
        with pytest.raises(RefusedError, match="it does not say which"):
            TargetLock(tmp_path, "run-2").__enter__()


def test_lock_that_could_not_be_written_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk under the lock is one line, and the target is free for the next."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(MissingError, match="No space left on device; make room, or set XDG_"):
            TargetLock(tmp_path, "run-1").__enter__()

    with TargetLock(tmp_path, "run-2"):
        pass


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder in which we may not write, made by somebody else; rights bind no root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        monkeypatch.setenv("XDG_STATE_HOME", str(folder))
        made = folder / "faultload" / ("f" * 16)
        made.mkdir(parents=True)
        for path in (folder, made.parent, made):
            path.chmod(0o555)
        try:
            yield folder
        finally:
            for path in (folder, made.parent, made):
                path.chmod(0o755)


def test_state_of_another_user_is_refused_with_the_remedy(strangers: Path) -> None:
    """Not ours to write to: the folder, and the variable to set; its lock is not ours either."""
    code = textwrap.dedent(f"""
        import os, pathlib
        from faultload.errors import UsageError
        from faultload.targets import TargetLock, state_home
        if os.geteuid() == 0:
            os.setgid({_NOBODY}); os.setuid({_NOBODY})
        for attempt in (state_home, TargetLock(pathlib.Path({str(strangers)!r}), "run").__enter__):
            try:
                attempt()
            except UsageError as error:
                print(error)
    """)
    environment = {**os.environ, "XDG_STATE_HOME": str(strangers)}

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    home, lock = done.stdout.splitlines()
    assert home.endswith("/faultload: not writable; set XDG_STATE_HOME to a writable folder")
    assert lock.endswith("Permission denied; set XDG_STATE_HOME to a writable folder")


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.EROFS, MissingError, "Read-only file system"),
        (errno.EACCES, UsageError, "set XDG_STATE_HOME to a writable folder"),
        (errno.ENOSPC, MissingError, "make room, or set XDG_STATE_HOME"),
        (errno.EMFILE, MissingError, "Too many open files"),
    ],
)
def test_every_refusal_of_the_machine_is_one_line(
    tmp_path: Path, number: int, kind: type[Exception], said: str
) -> None:
    """With the folder, what the machine said, and what helps where that is known."""
    with pytest.raises(kind, match=said) as refused, keeping_state(tmp_path):
        raise OSError(number, os.strerror(number))

    assert str(tmp_path) in str(refused.value)


def test_read_only_state_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file system that is read-only refuses root too; `access` says so beforehand."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(UsageError, match="not writable; set XDG_STATE_HOME"):
        state_home()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text('{"step": "from-the-future"}\n'),
        lambda path: path.write_text('{"injection_id": "x", "step": "planned"}\n'),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["newer", "half", "no file"],
)
def test_journal_that_cannot_be_read_keeps_the_target_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: object
) -> None:
    """It may hide a fault: 75 with the remedy, and `recover` says what it cannot read."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    state = RunState.create("f" * 16, "run-1", tmp_path)
    state.journal.append(InjectionEntry("k-1", InjectionStep.PLANNED, "kill_replica", 1.0))
    about = {"target_file": "t", "attachment": {}, "injections": str(state.journal.path)}
    state.session_path.write_text(json.dumps(about), encoding="utf-8")
    spoil(state.journal.path)  # type: ignore[operator]

    with pytest.raises(RefusedError, match="run-1.*faultload recover"):
        refuse_if_harmed("f" * 16)
    (outcome,) = recover()
    assert "injections.jsonl" in outcome.problem
    assert "--forget run-1" in outcome.problem


def test_lost_session_is_said_and_forgotten_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it nobody knows where the harm is: it is named, and nothing is called undone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    state = RunState.create("f" * 16, "run-1", tmp_path)
    for step in (InjectionStep.PLANNED, InjectionStep.INJECTING):
        state.journal.append(InjectionEntry("k-1", step, "kill_replica", 1.0))

    (outcome,) = recover()

    assert (outcome.reverted, outcome.sealed) == ([], None)
    assert "not a session file" in outcome.problem
    refused = pytest.raises(RefusedError, match="faultload recover")
    with refused:
        refuse_if_harmed("f" * 16)


def test_lock_to_undo_needs_no_room_for_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not keep harm in force; the kernel keeps the others away all the same."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("faultload.targets.state._NAMED_WITHIN_S", 0.0)
    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "ftruncate", full)
    with TargetLock(tmp_path, "recover run-1", to_undo=True), pytest.raises(RefusedError):
        TargetLock(tmp_path, "run-2").__enter__()


def test_lock_that_cannot_be_taken_keeps_no_other_target_from_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with one is said, and the next is tried."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for fingerprint, name in (("e" * 16, "run-1"), ("f" * 16, "run-2")):
        RunState.create(fingerprint, name, tmp_path)
    (tmp_path / "state" / "faultload" / ("e" * 16) / "lock").mkdir()

    spoilt, fine = recover()

    assert "lock" in spoilt.problem
    assert (fine.run_id, fine.problem) == ("run-2", "")


def test_run_that_goes_on_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its journal is what takes its fault back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    state = RunState.create("f" * 16, "run-1", tmp_path)
    refused = pytest.raises(RefusedError, match="run-1")

    with TargetLock(state.target_home, "run-1"), refused:
        recover(forget="run-1")
    assert state.folder.exists()

    recover(forget="run-1")
    assert not state.folder.exists()
