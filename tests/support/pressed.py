"""How a rehearsed run ends under pressure, and what may be left of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from rehearsal import Stage

from faultload.errors import FaultloadError
from faultload.judge import Verdict
from faultload.record import RunDirectory
from faultload.record.directory import write_json
from faultload.run.judging import judge_stored
from faultload.run.recover import recover
from faultload.run.state import left_behind, refuse_if_harmed


def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have runs sealed and not judged, which takes longer than all the rest."""

    def judge_and_report(directory: RunDirectory) -> tuple[SimpleNamespace, list[Path]]:
        write_json(directory.path / "verdict.json", {})
        return SimpleNamespace(verdict=Verdict.INVALID), []

    monkeypatch.setattr("faultload.run.flow.judge_and_report", judge_and_report)
    monkeypatch.setattr("faultload.run.recover.judge_and_report", judge_and_report)


def end_of(stage: Stage) -> tuple[int, str]:
    """Play it; return its exit code and words. Anything that is no error of ours comes through."""
    try:
        result = stage.run()
    except FaultloadError as error:
        return int(error.exit_code), str(error)
    assert result.defect is None, result.defect
    return result.exit_code, str(result.error or "")


def is_left_as_it_should_be(stage: Stage, *, judged: bool = False) -> None:
    """Recover; nothing may be harmed or left then, and every record is whole.

    Clears the stage for another run.

    Args:
        stage: where it was played.
        judged: judge the record too, which takes longer than all the rest.
    """
    assert [outcome.problem for outcome in recover() if outcome.problem] == []
    assert stage.is_whole
    assert list(left_behind()) == []
    refuse_if_harmed(stage.platform.identity.fingerprint)
    for run in stage.plan.reports.glob("*"):
        assert RunDirectory.open(run).tampered() == []
        if judged:
            verdict = judge_stored(RunDirectory.open(run)).judgement.verdict
            assert verdict.value in ("invalid", "inconclusive"), "no pass, and no fail"
    shutil.rmtree(stage.plan.reports, ignore_errors=True)
    stage.anew()
