"""`faultload stop`: which run is meant, how it is told, and when it has ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clock import Clock

from faultload.cli import invoke
from faultload.errors import ExitCode, Interrupted, MissingError, UsageError
from faultload.record import InjectionEntry, InjectionStep
from faultload.run import stopping
from faultload.run.state import STANDING, RunState
from faultload.targets import TargetLock, holder_of, state_home

FINGERPRINT = "f" * 16
Begin = Callable[..., RunState]


@pytest.fixture
def begin(clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Begin]:
    """Have runs that go on: their locks are held until the test ends or they do."""
    monkeypatch.setattr(stopping, "time", clock)
    with contextlib.ExitStack() as held:

        def start(run_id: str, fingerprint: str = FINGERPRINT, ends_s: float = 0.0) -> RunState:
            state = RunState.create(fingerprint, run_id, tmp_path)
            lock = held.enter_context(contextlib.ExitStack())
            lock.enter_context(TargetLock(state.target_home, run_id))

            def end() -> None:
                state.remove()
                lock.close()

            if ends_s:
                clock.at(ends_s, end)
            return state

        yield start


def test_run_is_told_why_and_waited_for(begin: Begin) -> None:
    """The request is a file that its supervisor finds; it has ended once its state is gone."""
    state = begin("run-1", ends_s=3.0)
    stopping.heed(state)
    told: list[str] = []

    def hear() -> None:
        with pytest.raises(Interrupted) as caught:
            stopping.heed(state)
        told.append(str(caught.value))
        assert caught.value.exit_code == ExitCode.SIGTERM

    stopping.time.at(1.0, hear)  # type: ignore[attr-defined]

    (outcome,) = stopping.stop(reason="pager went\noff")

    assert told == ["stopped by faultload stop: pager went off"]
    assert (outcome.run_id, outcome.problem) == ("run-1", "")
    assert outcome.took_s == pytest.approx(3.0)


@pytest.mark.parametrize("said", [b"", b"{}", b"[1]", b"\xff\xfe"])
def test_request_that_cannot_be_read_is_one_all_the_same(begin: Begin, said: bytes) -> None:
    """Somebody wants it to end; why is not known."""
    state = begin("run-1")
    (state.folder / "stop.json").write_bytes(said)

    with pytest.raises(Interrupted, match="no reason given"):
        stopping.heed(state)


def test_nothing_runs(begin: Begin, tmp_path: Path) -> None:
    """A crashed run, and the journal of a platform left up, are nothing that goes on."""
    RunState.create(FINGERPRINT, "crashed", tmp_path)
    RunState.create(FINGERPRINT, STANDING, None)

    with pytest.raises(MissingError, match="no run is going on"):
        stopping.stop()
    with TargetLock(state_home() / FINGERPRINT, STANDING), pytest.raises(MissingError):
        stopping.stop(everything=True)


def test_crashed_run_beside_one_that_goes_on_is_left_alone(begin: Begin, tmp_path: Path) -> None:
    """The lock says who goes on; what died before on the same target is for `recover`."""
    RunState.create(FINGERPRINT, "crashed", tmp_path)
    begin("run-2", ends_s=1.0)

    assert [one.run_id for one in stopping.stop(everything=True)] == ["run-2"]
    with pytest.raises(MissingError):
        stopping.stop("crashed")


def test_which_of_several_must_be_said(begin: Begin) -> None:
    """One is named, or all are meant; another name is an error that says which there are."""
    begin("run-1", ends_s=2.0)
    begin("run-2", "e" * 16, ends_s=1.0)

    with pytest.raises(UsageError, match="several runs .*run-1, run-2"):
        stopping.stop()
    with pytest.raises(UsageError, match="did you mean 'run-"):
        stopping.stop("run-3")
    assert [one.run_id for one in stopping.stop("run-2")] == ["run-2"]
    assert [one.run_id for one in stopping.stop()] == ["run-1"]


def test_all_are_waited_for(begin: Begin) -> None:
    """Each with its own time."""
    begin("run-1", ends_s=2.0)
    begin("run-2", "e" * 16, ends_s=1.0)

    took = {one.run_id: one.took_s for one in stopping.stop(everything=True)}

    assert took == pytest.approx({"run-1": 2.0, "run-2": 1.0}, abs=0.11)


def test_run_that_leaves_something_behind_is_said(begin: Begin) -> None:
    """Its process is gone and its state is not: that is no success, and the remedy is named."""
    state = begin("run-1", ends_s=2.0)

    def die() -> None:
        RunState.create(FINGERPRINT, "run-1", None)

    stopping.time.at(2.0, die)  # type: ignore[attr-defined]
    (outcome,) = stopping.stop()

    assert outcome.problem == "it ended and left something behind; run: faultload recover"
    assert state.folder.exists()


@pytest.mark.parametrize(("harmed", "said"), [(True, "may be in force"), (False, "no fault is in")])
def test_wait_has_a_bound(begin: Begin, harmed: bool, said: str) -> None:
    """A run that does not hear is not waited for forever, and what may be in force is said."""
    state = begin("run-1")
    if harmed:
        for step in (InjectionStep.PLANNED, InjectionStep.INJECTING):
            state.journal.append(InjectionEntry("k-1", step, "kill_replica", 1.0))

    (outcome,) = stopping.stop()

    assert said in outcome.problem
    assert outcome.took_s == pytest.approx(stopping.WAIT_S, abs=0.3)


def test_holder_is_known_while_it_lives(tmp_path: Path) -> None:
    """The name that a dead holder left in the file means nothing."""
    assert holder_of(tmp_path) == ""
    with TargetLock(tmp_path, "run-1"):
        assert holder_of(tmp_path) == "run-1"
    (tmp_path / "lock").write_text(json.dumps({"run": "dead"}), encoding="utf-8")
    assert holder_of(tmp_path) == ""


def test_command_says_how_it_went(begin: Begin, capsys: pytest.CaptureFixture[str]) -> None:
    """0 when all is reverted, 69 where nothing runs, 64 for two answers, 3 for what is left."""
    assert invoke(["stop"]) == ExitCode.MISSING
    assert invoke(["stop", "run-1", "--all"]) == ExitCode.USAGE
    begin("run-1", ends_s=1.0)
    assert invoke(["stop", "--json"]) == ExitCode.PASS
    begin("run-2")
    assert invoke(["stop"]) == ExitCode.INVALID

    captured = capsys.readouterr()
    assert "no run is going on here: nothing to stop" in captured.err
    assert '"run_id": "run-1"' in captured.out
    assert "run-2: it did not end within" in captured.out
