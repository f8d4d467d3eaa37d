"""Undoing what a dead harness left: revert from the journal, then seal its record as crashed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import FaultloadError, MissingError, RefusedError
from faultload.faults import revert_unreverted
from faultload.load import collect_rows
from faultload.record import LoadSummary, RunDirectory
from faultload.run.judging import judge_and_report
from faultload.run.sealing import seal_run
from faultload.run.state import RunState, left_behind
from faultload.targets import TargetLock


@dataclass(frozen=True)
class Recovered:
    """What became of one run left behind.

    Attributes:
        run_id: the run.
        reverted: a sentence for each fault undone now.
        sealed: its record's directory; None: there was nothing to seal.
        problem: what could not be done; "" when all was.
    """

    run_id: str
    reverted: list[str]
    sealed: Path | None
    problem: str = ""


def recover() -> list[Recovered]:
    """Recover every run that died on this machine; empty: there was none.

    A run whose lock is held is still going and is left alone.
    """
    return [outcome for state in left_behind() if (outcome := _recover_one(state)) is not None]


def _recover_one(state: RunState) -> Recovered | None:
    run_id, reverted = state.folder.name, list[str]()
    try:
        with TargetLock(state.target_home, f"recover {run_id}"):
            try:
                reverted = [str(o["text"]) for o in revert_unreverted(state.session)]
            except MissingError:
                if state.journal.unreverted():
                    raise
            sealed = _seal(state)
            state.remove()
            return Recovered(run_id, reverted, sealed)
    except RefusedError:
        return None
    except FaultloadError as error:
        return Recovered(run_id, reverted, None, str(error))


def _seal(state: RunState) -> Path | None:
    """Seal the crashed run's record from its draft; None when it has none or is sealed already."""
    draft = state.draft()
    directory = RunDirectory(state.run_directory)
    if draft is None or not directory.record.is_dir() or directory.manifest_path.exists():
        return None
    work = directory.path / "work"
    end_s = draft.phases[-1].end_s if draft.phases else 0.0
    trace = directory.record / "trace.parquet"

    def collect() -> LoadSummary:
        return collect_rows(trace, work, directory.requests, end_s)

    seal_run(directory, draft, state.journal, collect if trace.exists() else None, None, end_s)
    judge_and_report(directory)
    shutil.rmtree(work, ignore_errors=True)
    return directory.path
