"""How runs differ: accepted runs are kept in the baseline store, and given to later ones.

What a run is held beside is chosen once, before it begins, and sealed with it, so that it is judged
alike for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from faultload import __version__
from faultload.errors import RefusedError, UsageError, nearest
from faultload.judge import Verdict
from faultload.record import Manifest, PhaseName, RunDirectory
from faultload.record.baseline import from_text, number_of
from faultload.record.directory import write_json
from faultload.record.history import (
    AcceptedRun,
    Counted,
    RunHistory,
    Withdrawal,
    digest_of,
    read_history,
)
from faultload.run.baselines import Saved, Store, add, digest, entries, now_utc, open_store
from faultload.run.gate.sides import environment_of
from faultload.run.judging import Judged, judge_stored
from faultload.run.plan import RunPlan
from faultload.secrecy import redacted_data
from faultload.spec.scenario import TraceArrivals

RUNS_MAX = 50
"""The newest count: a platform of long ago differed by what is no part of any fingerprint."""
_LENGTH_SLACK_S = 0.5
"""A phase ends at the tick after its time."""


def save_history(plan: RunPlan, draft: Manifest, directory: RunDirectory) -> None:
    """Write what a run will be held beside into its record.

    Args:
        plan: names the store; "": nobody said, and the run speaks for itself.
        draft: the manifest as far as it is known, with what the target said of itself.
        directory: the run's.

    Raises:
        SpecError: an entry of the store cannot be read.
        FaultloadError: the store cannot be.
    """
    workload = _workload(plan, draft, directory)
    runs = earlier_runs(open_store(plan.store), workload) if plan.store else []
    history = RunHistory(workload=workload, runs=runs)
    write_json(directory.history, history.model_dump(mode="json"))


def earlier_runs(store: Store, workload: Mapping[str, str]) -> list[AcceptedRun]:
    """Return the newest accepted runs of one kind that were not withdrawn, oldest first.

    Raises:
        SpecError: an entry cannot be read.
    """
    name = name_of(workload)
    found, withdrawn = list[AcceptedRun](), set[str]()
    for key in reversed(store.keys()):  # a run is withdrawn by a later entry
        about = number_of(key)
        if about is None or about[0] != name:
            continue
        entry, number = from_text(f"{store.where}/{key}", store.read(key)), f"{about[1]:06d}"
        if isinstance(entry, Withdrawal):
            withdrawn.add(entry.entry)
        elif (
            isinstance(entry, AcceptedRun)
            and number not in withdrawn
            and entry.workload == workload
        ):
            found.append(entry)
        if len(found) == RUNS_MAX:
            break
    return found[::-1]


def earlier_runs_of(store: Store, run: RunDirectory) -> list[AcceptedRun]:
    """Return the accepted runs that a stored one can be held beside now; it is none of them.

    Raises:
        RefusedError: its record does not say of which kind it is.
        SpecError: the record or an entry is damaged.
    """
    found = earlier_runs(store, _given(run).workload)
    return [one for one in found if one.run_id != run.run_id]


def accept(store: Store, path: Path) -> Saved:
    """Add a run to those that later ones are held beside.

    Raises:
        UsageError: it is no run.
        SpecError: its record is damaged.
        RefusedError: it is in there already, or its baseline phase proves nothing.
    """
    directory = RunDirectory.open(path)
    judged, given = judge_stored(directory), _given(directory)
    if problem := _unfit(judged, given):
        raise RefusedError(f"{path}: {problem}; such a run says nothing of how runs differ")
    entry = AcceptedRun(
        saved=now_utc(),
        run_id=judged.manifest.run_id,
        commit=judged.manifest.commit,
        workload=given.workload,
        slos=_counts(judged),
    )
    if any(one.run_id == entry.run_id for one in earlier_runs(store, entry.workload)):
        raise RefusedError(f"{path}: {entry.run_id} is accepted already, and would count twice")
    return add(store, name_of(entry.workload), entry)


def withdraw(store: Store, run: str, reason: str) -> list[Saved]:
    """Say that an accepted run counts no more; return its entries, which stay where they are.

    Args:
        store: where it was accepted.
        run: its id, or its directory, which may be gone.
        reason: why; goes into the store.

    Raises:
        UsageError: there is no such run, or no reason.
        RefusedError: it was withdrawn before.
    """
    name, reason = Path(run).name, " ".join(reason.split())
    if not reason:
        raise UsageError("--reason: expected why the run counts no more, found nothing")
    known = [
        (one, one.entry.run_id) for one in entries(store) if isinstance(one.entry, AcceptedRun)
    ]
    own = [one for one, run_id in known if run_id == name]
    if not own:
        near = nearest(name, [run_id for _, run_id in known])
        raise UsageError(
            f"{store.where}: no accepted run {name!r}{near}; faultload baseline list shows them"
        )
    counting = [one for one in own if not one.withdrawn]
    if not counting:
        raise RefusedError(f"{store.where}: {name} is withdrawn already")
    for one in counting:
        add(store, one.name, Withdrawal(saved=now_utc(), entry=one.number, reason=reason))
    return counting


def _given(run: RunDirectory) -> RunHistory:
    given = read_history(run.history)
    if given is None:
        raise RefusedError(
            f"{run.path}: its record has no history.json, so it is not known which runs are of its"
            " kind: it is of an older faultload; run it again"
        )
    return given


def _unfit(judged: Judged, given: RunHistory) -> str:
    if judged.judgement.verdict is Verdict.INVALID:
        return f"it is invalid: {judged.judgement.reason}"
    length_s = sum(p.end_s - p.start_s for p in judged.manifest.phases if p.name == "baseline")
    planned_s = float(given.workload["baseline_s"])
    if length_s < planned_s - _LENGTH_SLACK_S:
        return f"its baseline phase was to last {planned_s:g} s and lasted {length_s:.1f} s"
    return "" if _counts(judged) else "no SLO counted any request in its baseline phase"


def _counts(judged: Judged) -> dict[str, Counted]:
    """Return what the baseline phase held, of SLOs that are counted on request rows."""
    slos = {slo.name: slo for slo in judged.slos if slo.source.type == "requests"}
    return {
        result.slo: Counted(
            source=digest_of(slos[result.slo]), events=result.events, bad=result.bad
        )
        for result in judged.judgement.phases
        if result.phase is PhaseName.BASELINE and result.slo in slos and result.events
    }


def _workload(plan: RunPlan, draft: Manifest, directory: RunDirectory) -> dict[str, str]:
    """Return what must be equal for two baseline phases to be of one kind.

    What a library's version changes is not which request is bad, so none is in it.
    """
    kind, arrivals = plan.target.kind, plan.scenario.arrivals
    recording = b""
    if isinstance(arrivals, TraceArrivals):
        recording = (plan.scenario_path.parent / arrivals.path).read_bytes()
    found = {
        "scenario": digest(directory.scenario.read_bytes()),
        "recording": digest(recording) if recording else "",
        "seed": str(plan.seed),
        "warmup_s": f"{plan.warmup_s:g}",
        "baseline_s": f"{plan.baseline_s:g}",
        "faultload": __version__,
        # A local platform is a new one each time; elsewhere the same configuration in another
        # place has other machines and other neighbours.
        "target": "" if kind == "local" else draft.target_fingerprint,
        **{f"environment.{k}": v for k, v in environment_of(kind, draft.platform).items()},
    }
    shown: dict[str, str] = redacted_data(found)
    return shown


def name_of(workload: Mapping[str, str]) -> str:
    """Return under which name a store keeps the runs of one kind."""
    return f"runs-{digest(repr(sorted(workload.items())).encode())}"
