"""Signals, once or many times, end a run once; taking harm back is never cut."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pressed import is_left_as_it_should_be, unjudged
from rehearsal import Stage, rehearsal

from faultload.errors import ExitCode, Interrupted
from faultload.judge import Verdict
from faultload.record import InjectionStep, Outcome
from faultload.run.recover import recover
from faultload.run.state import RunState, left_behind

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a stage for runs in virtual time."""
    unjudged(monkeypatch)
    return rehearsal(tmp_path, monkeypatch)


def shower() -> None:
    """Send every signal that a person or a terminal sends, and Ctrl-C twice more."""
    for number in (*ALL, signal.SIGINT, signal.SIGINT):
        signal.raise_signal(number)


def in_the_middle_of(monkeypatch: pytest.MonkeyPatch, of: Any, name: str) -> Callable[[], int]:
    """Have the shower come while a method is at work; return how often it did."""
    times, whole = [0], getattr(of, name)

    def act(*words: Any, **more: Any) -> Any:
        times[0] += 1
        shower()
        answer = whole(*words, **more)
        shower()
        return answer

    monkeypatch.setattr(of, name, act)
    return lambda: times[0]


@pytest.mark.parametrize(
    ("first", "obeys"), [*((number, True) for number in ALL), (signal.SIGINT, False)]
)
def test_revert_is_not_cut(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, first: signal.Signals, *, obeys: bool
) -> None:
    """The first signal ends the run; those that come while harm is taken back change nothing."""
    stage.obeys = obeys
    times = in_the_middle_of(monkeypatch, stage.platform, "continue_replica")
    stage.clock.at(6.6, lambda: signal.raise_signal(first))

    result = stage.run()

    assert times() == 1
    assert stage.is_whole
    assert isinstance(result.error, Interrupted)
    assert result.exit_code == ExitCode[first.name] == 128 + first
    manifest = result.directory.manifest()
    assert (manifest.outcome, manifest.reason) == (
        Outcome.INTERRUPTED,
        f"interrupted by {first.name}",
    )
    assert result.judgement.verdict is Verdict.INVALID
    assert list(left_behind()) == []


def test_revert_at_the_end_of_the_hold_is_not_cut(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes as the rollbacks play: they, or the supervisor, finish what they do."""
    stage.clock.at(7.15, lambda: signal.raise_signal(signal.SIGINT))

    result = stage.run()

    steps = [entry.step for entry in result.directory.injections.entries()]
    assert stage.is_whole
    assert InjectionStep.VERIFIED_REVERTED in steps
    assert result.exit_code == ExitCode.SIGINT


def test_sealing_and_judging_are_not_cut(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is whole and judged; the exit code says that a signal came."""
    times = in_the_middle_of(monkeypatch, stage.platform, "save_logs")

    result = stage.run()

    assert (times(), result.exit_code) == (1, ExitCode.SIGINT)
    assert result.directory.tampered() == []
    assert result.directory.manifest().outcome is Outcome.COMPLETED


def test_recover_finishes_what_it_takes_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run under its hands is undone and sealed; the next one is left for the next time."""
    stage.obeys = False
    with monkeypatch.context() as patch:
        patch.setattr("faultload.run.supervisor.revert_unreverted", lambda _: [])
        stage.clock.at(6.6, lambda: signal.raise_signal(signal.SIGTERM))
        stage.run()
    assert not stage.is_whole, "harm was to be left: the test shows nothing"
    RunState.create("f" * 16, "99990101T000000Z-the-next", None)
    times = in_the_middle_of(monkeypatch, stage.platform, "continue_replica")

    with pytest.raises(Interrupted):
        recover()

    assert (times(), stage.is_whole) == (1, True)
    assert [state.folder.name for state in left_behind()] == ["99990101T000000Z-the-next"]
    is_left_as_it_should_be(stage)


def test_chaos_child_can_be_interrupted_also_in_the_background(tmp_path: Path) -> None:
    """A shell has its background jobs ignore SIGINT; the child must play its rollbacks at it."""
    (tmp_path / "experiment.yaml").write_text("{}", encoding="utf-8")
    words = ["-", *(str(tmp_path / name) for name in ("experiment.yaml", "journal.json"))]
    child = subprocess.Popen(
        [
            "bash",
            "-c",
            f"trap '' INT; exec {sys.executable} -m faultload.run.chaos_child $@",
            *words,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert b"ready" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)

    assert b"KeyboardInterrupt" in err
