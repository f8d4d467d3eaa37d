"""A wall clock that steps during a run makes it invalid, and nobody waits for it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from rehearsal import PHASES, Stage, rehearsal

from faultload.judge import Verdict
from faultload.load import sender
from faultload.record import PhaseName, read_requests
from faultload.run.events import RunClock

HOUR_S = 3600.0


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a stage for runs in virtual time."""
    return rehearsal(tmp_path, monkeypatch)


def step(stage: Stage, by_s: float) -> None:
    """Set the wall clock."""
    stage.clock.ahead_s += by_s


@pytest.mark.parametrize(
    ("at_s", "by_s"),  # in the baseline, under the fault, in the recovery
    [(3.0, HOUR_S), (6.6, HOUR_S), (6.6, -HOUR_S), (9.5, -HOUR_S)],
)
def test_step_of_the_wall_clock_is_said_and_not_waited_for(
    stage: Stage, at_s: float, by_s: float
) -> None:
    """The run takes as long as without it, keeps its rows, and is invalid with that reason."""
    stage.clock.at(at_s, lambda: step(stage, by_s))

    result = stage.run()

    length_s = sum(PHASES.values()) + 10.0
    assert stage.clock.monotonic() < length_s, "an hour was waited for"
    assert stage.is_whole
    assert result.judgement.verdict is Verdict.INVALID
    findings = [one.text for one in result.judgement.findings if one.verdict is Verdict.INVALID]
    assert any(f"The wall clock moved by {by_s:.3f} s" in text for text in findings), findings
    manifest = result.directory.manifest()
    assert manifest.clock.wall_drift_s == pytest.approx(by_s)
    rows = read_requests(result.directory.requests)
    assert len(rows) > 50
    assert np.isfinite(rows["sent_s"]).all()
    phases = manifest.phases
    assert [phase.name for phase in phases].count(PhaseName.FAULT) == 1
    assert all(0 <= phase.start_s <= phase.end_s < length_s for phase in phases), phases


def test_run_without_a_step_is_not_called_stepped(stage: Stage) -> None:
    """The control: the same run, and a clock that goes as it should."""
    result = stage.run()

    texts = [one.text for one in result.judgement.findings]
    assert not any("clock" in text for text in texts), texts
    assert result.judgement.verdict is Verdict.INCONCLUSIVE, "there is no Prometheus here"


def test_drift_is_what_the_wall_clock_moved(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> None:
    """In either direction, whatever time has passed."""
    monkeypatch.setattr("faultload.run.events.time", stage.clock)
    clock = RunClock.starting_in(0.5)
    stage.clock.sleep(100.0)
    assert clock.wall_drift_s() == pytest.approx(0.0)
    step(stage, -HOUR_S)

    assert (clock.now_s(), clock.wall_drift_s()) == pytest.approx((99.5, -HOUR_S))


def test_traffic_lasts_as_long_as_it_was_told_to(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, tmp_path: Path
) -> None:
    """A sender's end is a length from its start: no step makes it end early, or go on for hours."""
    monkeypatch.setattr("faultload.load.sender.time", stage.clock)
    (tmp_path / "go").touch()
    ends_s = stage.clock.monotonic() + 30.0
    for by_s in (HOUR_S, -2 * HOUR_S):
        step(stage, by_s)
        assert sender._why_end(tmp_path, ends_s, os.getppid()) == ""

    stage.clock.sleep(31.0)
    assert sender._why_end(tmp_path, ends_s, os.getppid()) == "expired"
