"""Undoing what a dead harness left: revert from the journal, then seal its record as crashed."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import RefusedError, UsageError, nearest
from faultload.faults import revert_unreverted
from faultload.load import collect_rows
from faultload.record import LoadSummary, Manifest, RunDirectory, read_live_rows
from faultload.run.injection import fault_phase, with_fault
from faultload.run.judging import judge_and_report
from faultload.run.sealing import seal_run
from faultload.run.signals import SignalGuard
from faultload.run.state import RunState, left_behind
from faultload.secrecy import private_files
from faultload.spec import Catalogue, LocalTargetSpec
from faultload.targets import TargetLock, connect


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


def recover(forget: str = "") -> list[Recovered]:
    """Recover every run that died on this machine; empty: there was none.

    A run whose lock is held is still going and is left alone. What cannot be undone for one run
    does not keep the others from it.

    Args:
        forget: id of a run whose state is dropped without undoing anything, for a person who has
            seen to it by hand.

    Raises:
        UsageError: there is no such run to forget.
        RefusedError: that run, or another on its target, still goes on.
        Interrupted: a signal came; what was being taken back then is taken back first.
    """
    states = list(left_behind())
    if forget:
        known = {state.folder.name: state for state in states}
        if forget not in known:
            raise UsageError(f"no run {forget!r} was left behind{nearest(forget, known)}")
        held = TargetLock(known[forget].target_home, f"recover --forget {forget}", to_undo=True)
        with held:  # a run that goes on keeps its journal
            known[forget].remove()
        return [Recovered(forget, ["forgotten; nothing was undone"], None)]
    signals, outcomes = SignalGuard(), list[Recovered | None]()
    with signals.installed():
        for state in states:
            with signals.listening():
                pass  # told here, and not while something is taken back
            outcomes.append(_recover_one(state))
    return [outcome for outcome in outcomes if outcome is not None]


def recover_expired(catalogue: Catalogue, target: str) -> list[str]:
    """Undo what outlived its time on a cluster, by the marks on its objects alone.

    For when the state of the run that left it is gone, or on a machine that we cannot reach. What
    a run still holds has not expired and is left alone.

    Args:
        catalogue: where names are looked up.
        target: path or name.

    Returns:
        A sentence for each change undone.

    Raises:
        UsageError: a local platform: it leaves no marks.
        MissingError: the cluster does not answer, or does not let us.
        FaultError: after all were tried, what is still in force.
    """
    path, spec = catalogue.target(target)
    if isinstance(spec, LocalTargetSpec):
        raise UsageError(
            f"{path}: a local platform keeps no marks, and undoes by itself what outlived its"
            " lease; run: faultload recover"
        )
    cluster = connect(spec, path, to_undo=True)
    try:
        return list(cluster.revert_expired(cluster.now_unix_s()))
    finally:
        cluster.close()


def _recover_one(state: RunState) -> Recovered | None:
    run_id = state.folder.name
    with contextlib.ExitStack() as held:
        held.enter_context(private_files())
        try:
            lock = TargetLock(state.target_home, f"recover {run_id}", to_undo=True)
            try:
                held.enter_context(lock)
            except RefusedError:
                return None
            return _undo_and_seal(state)
        except Exception as error:  # noqa: BLE001  # one bad state must not hide the next
            problem = f"{error} (when it is seen to: faultload recover --forget {run_id})"
            return Recovered(run_id, [], None, problem)


def _undo_and_seal(state: RunState) -> Recovered:
    reverted = list[str]()
    if state.may_be_harmed():
        reverted = [str(o["text"]) for o in revert_unreverted(state.session)]
    sealed = _seal(state)
    if not state.is_standing:
        state.remove()
    return Recovered(state.folder.name, reverted, sealed)


def _seal(state: RunState) -> Path | None:
    """Seal the crashed run's record from its draft; None when it has none or is sealed already."""
    draft = state.draft()
    if draft is None:
        return None
    directory = RunDirectory(state.run_directory)
    if not directory.record.is_dir() or directory.manifest_path.exists():
        return None
    work, trace = directory.path / "work", directory.record / "trace.parquet"
    draft = _completed(draft, state, work)
    end_s = draft.phases[-1].end_s if draft.phases else 0.0

    def collect() -> LoadSummary:
        return collect_rows(trace, work, directory.requests, end_s)

    seal_run(directory, draft, state.journal, collect if trace.exists() else None, None, end_s)
    judge_and_report(directory)
    shutil.rmtree(work, ignore_errors=True)
    return directory.path


def _completed(draft: Manifest, state: RunState, work: Path) -> Manifest:
    """Return the draft with its last phase reaching to the last thing that was seen."""
    if not draft.phases:
        return draft
    *done, last = draft.phases
    seen = read_live_rows(work)["end_s"].max()
    end_s = max(last.end_s, float(seen) if seen == seen else 0.0)  # noqa: PLR0124  # NaN: no row
    phases = [*done, last.model_copy(update={"end_s": end_s})]
    fault = fault_phase(state.journal.entries(), draft.clock.t0_unix_s, end_s)
    if fault is not None:
        phases = with_fault(phases, fault)
    return draft.model_copy(update={"phases": phases})
