"""Validity: may anything that this run says be believed? Every finding here is *invalid*."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from faultload.judge.isolation import check_isolation
from faultload.judge.model import Evidence, Finding, Verdict
from faultload.record import (
    InjectionEntry,
    InjectionStep,
    LoadSummary,
    Outcome,
    PhaseName,
    WorkerHealth,
)

LOAD_CLIENT = "load client"
"""Subject of the findings that our own client was late or stood still: no platform makes it so."""
SENT_SHARE_MIN = 0.99
"""Least share of due requests that the client must have sent."""
LAG_S_MAX = 0.020
"""Largest p99 of sent minus due; beyond it the client is part of what it measures."""
CPU_SHARE_MAX = 0.8
"""A worker busier than this on one core, and late by half the limit, is the bottleneck."""
STALLED_SHARE_MAX = 0.01
"""Largest share of the run that a worker's event loop stood still, counting stalls over 50 ms. What
arrives meanwhile is stamped late: beyond it every p99 is the client's own."""
STALL_S_MAX = 1.0
"""Longest single stall of a worker: as long as the recoveries we want to tell apart."""
CLOCK_ERROR_S_MAX = LAG_S_MAX
"""How far a worker's clock may be off: that much its requests may leave early or late unseen."""
DRIFT_S_MAX = 0.1
"""Largest step of the wall clock against the monotonic one."""
EDGE_S = 1.0
"""How far the journal's wall times may lie outside the fault phase."""
TICK_S = 1e-3
"""Times that are equal to a reader may differ by this much."""


def check_outcome(evidence: Evidence) -> list[Finding]:
    """Only a run that completed, or that a stop condition aborted after harm began, says a thing.

    An abort before any harm means that the platform was not steady without our help.
    """
    ended = f": {evidence.reason}" if evidence.reason else ""
    match evidence.outcome:
        case Outcome.STOPPED:
            return [_invalid("run", f"The run could not be carried through{ended}.")]
        case Outcome.CRASHED:
            return [_invalid("run", f"The harness died during the run{ended}.")]
        case Outcome.INTERRUPTED:
            return [_invalid("run", f"The run was interrupted{ended}.")]
        case Outcome.ABORTED if evidence.aborted_by_person:
            return [_invalid("run", f"A person aborted the run{ended}.")]
        case Outcome.ABORTED if fault_window(evidence) is None:
            return [_invalid("run", f"A stop condition ended the run before any fault{ended}.")]
        case _:
            return []


def check_phases(evidence: Evidence) -> list[Finding]:
    """A completed run has the phases that are judged, and requests were due in each."""
    names = [phase.name for phase in evidence.phases]
    found = []
    if evidence.outcome is Outcome.COMPLETED:
        needed = (PhaseName.BASELINE, PhaseName.FAULT, PhaseName.RECOVERY)
        found += [
            _invalid("phases", f"The record has no {name} phase, though the run completed.")
            for name in needed
            if name not in names
        ]
    due = evidence.requests["due_s"].to_numpy(dtype=np.float64)
    for phase in evidence.phases:
        # An abort stops the load, and a warm-up may be silent.
        if phase.name is PhaseName.WARMUP or evidence.outcome is not Outcome.COMPLETED:
            continue
        if not ((due >= phase.start_s) & (due < phase.end_s)).any():
            text = f"No request was due in the {phase.name} phase: check the scenario's arrivals."
            found.append(_invalid("load", text, "requests.parquet"))
    return found


def check_steady_state(evidence: Evidence) -> list[Finding]:
    """The probes said yes before the fault."""
    if evidence.steady_state_met is False:
        text = "The steady state was not met before the fault: mend the platform, then run again."
        return [_invalid("steady state", text, "journal.json")]
    if evidence.steady_state_met is None and evidence.outcome is Outcome.COMPLETED:
        return [_invalid("steady state", "The steady state was never checked.", "journal.json")]
    return []


def check_fault(evidence: Evidence) -> list[Finding]:
    """Every injection was proven to act and proven gone, within the fault phase."""
    found: list[Finding] = []
    injections = _by_injection(evidence.injections)
    completed = evidence.outcome is Outcome.COMPLETED
    if completed and not injections:
        found.append(_invalid("fault", "The run completed and injected no fault.", _JOURNAL))
    for name, entries in injections.items():
        steps = {entry.step for entry in entries}
        label = f"Fault {entries[0].fault} ({name})"
        began = bool(steps & {InjectionStep.INJECTING, InjectionStep.INJECTED})
        found += [
            _invalid("fault", f"{label} failed: {entry.problem or 'no reason given'}.", _JOURNAL)
            for entry in entries
            if entry.step is InjectionStep.FAILED
        ]
        # A stop condition may fire before the proof: harm was done all the same.
        if completed and InjectionStep.VERIFIED not in steps:
            found.append(_invalid("fault", f"{label} was never proven to act.", _JOURNAL))
        if (began or completed) and InjectionStep.VERIFIED_REVERTED not in steps:
            text = f"{label} was never proven gone: run `faultload recover`."
            found.append(_invalid("fault", text, _JOURNAL))
        if completed:
            found += _check_senders(label, entries)
    return found + _check_journal_times(evidence)


def _check_senders(label: str, entries: Sequence[InjectionEntry]) -> list[Finding]:
    """Traffic that ended by itself was harm for a part of the hold only."""
    results = [
        result
        for entry in entries
        if entry.step is InjectionStep.VERIFIED_REVERTED
        for result in entry.evidence.get("data", {}).get("senders", [])
    ]
    reasons = sorted({result.get("why") or "no reason given" for result in results if result})
    found = [
        f"{label} ended before it was taken back: a sender had ended already ({why}). Let it last"
        " longer than the hold (`lasts_s`), and see that nothing else ends it."
        for why in reasons
        if why != "told to"
    ]
    if not all(results):
        found.append(
            f"{label} may have ended before it was taken back: a sender left no word of its end."
            " See that nothing else ends it."
        )
    return [_invalid("fault", text, _JOURNAL) for text in found]


def _check_journal_times(evidence: Evidence) -> list[Finding]:
    window = fault_window(evidence)
    phase = next((p for p in evidence.phases if p.name is PhaseName.FAULT), None)
    if window is None or phase is None:
        return []
    early, late = phase.start_s - window[0], window[1] - phase.end_s
    if InjectionStep.VERIFIED_REVERTED not in {entry.step for entry in evidence.injections}:
        late = early  # no proven end to compare
    # Negated, so that NaN does not slip through.
    if not (max(early, late) <= EDGE_S and abs(early) <= EDGE_S):
        text = (
            f"The journal puts the fault at {window[0]:.1f}-{window[1]:.1f} s, the manifest at"
            f" {phase.start_s:.1f}-{phase.end_s:.1f} s: the clocks disagree."
        )
        return [_invalid("clock", text, _JOURNAL)]
    return []


def check_load(evidence: Evidence) -> list[Finding]:
    """The load that was due was offered, on time, and every request left a row."""
    load = evidence.load
    if load is None:
        return [_invalid("load", "No load was measured.", "manifest.json")]
    problems: list[str] = []
    rows = len(evidence.requests)
    if load.requests_due <= 0:
        problems.append("No request was due: check the scenario's arrivals.")
    if not (load.rows == load.requests_due == rows):
        problems.append(
            f"{load.requests_due} requests were due and {min(load.rows, rows)} left a row:"
            " the client's rows are incomplete."
        )
    sent = min(load.requests_sent, rows - int(evidence.rows.unsent.sum()))
    if sent < SENT_SHARE_MIN * load.requests_due:
        problems.append(
            f"Only {sent} of {load.requests_due} due requests were sent:"
            " give the load client more workers."
        )
    if load.workers_lost:
        problems.append(
            f"{load.workers_lost} of {load.workers} load workers were lost: the client's rows are"
            " incomplete."
        )
    if load.rows_lost:
        problems.append(
            f"{load.rows_lost} rows that load workers wrote did not arrive: the client's rows are"
            " incomplete."
        )
    if load.lag_s_p99 is None:
        problems.append("Nothing was sent, so the client's lag is not known.")
    problems += [problem for worker in load.health for problem in _check_clock_of(worker)]
    late = _check_lag(load)
    late += [problem for worker in load.health for problem in _check_pace_of(worker)]
    found = [_invalid("load", problem, "manifest.json") for problem in problems]
    return found + [_invalid(LOAD_CLIENT, problem, "manifest.json") for problem in late]


def _check_lag(load: LoadSummary) -> list[str]:
    lag, cpu = load.lag_s_p99, load.cpu_share_max
    if lag is None:
        return []
    if not lag <= LAG_S_MAX:
        late = f"{lag * 1000:.0f} ms late (p99; at most {LAG_S_MAX * 1000:.0f} ms)"
        return [f"Requests left {late}: the client was too slow, give it more workers."]
    if cpu is not None and not (cpu <= CPU_SHARE_MAX or lag <= LAG_S_MAX / 2):
        busy = f"A load worker used {cpu:.0%} of its core and sent {lag * 1000:.0f} ms late (p99)"
        return [f"{busy}: the client was the bottleneck, give it more workers."]
    return []


def _check_pace_of(worker: WorkerHealth) -> list[str]:
    """Each worker for itself: a good one must not hide a bad one in their common quantile."""
    name, remedy = f"Load worker {worker.worker}", "the client was the bottleneck"
    stall, share = worker.stall_s_max, worker.stalled_share
    problems = []
    # Negated comparisons, so that NaN does not slip through.
    if worker.lag_s_p99 is not None and not worker.lag_s_p99 <= LAG_S_MAX:
        late = f"{worker.lag_s_p99 * 1000:.0f} ms late (p99; at most {LAG_S_MAX * 1000:.0f} ms)"
        problems.append(f"{name} sent {late}: {remedy}, give it more workers.")
    if share is not None and not share <= STALLED_SHARE_MAX:
        stood = f"stood still for {share:.1%} of the run (at most {STALLED_SHARE_MAX:.0%})"
        problems.append(f"{name} {stood}: {remedy}, give it more workers or a core of its own.")
    if stall is not None and not stall <= STALL_S_MAX:
        stood = f"stood still for {stall:.1f} s (at most {STALL_S_MAX:g} s)"
        problems.append(f"{name} {stood}: {remedy}, give it a core of its own.")
    return problems


def _check_clock_of(worker: WorkerHealth) -> list[str]:
    name, problems = f"Load worker {worker.worker}", list[str]()
    step = worker.clock_step_s_max
    if step is not None and not step <= DRIFT_S_MAX:
        stepped = f"saw its wall clock step by {step:.3f} s (at most {DRIFT_S_MAX} s)"
        problems.append(f"{name} {stepped}: check time synchronisation.")
    error = worker.clock_error_s
    if error is not None and not error <= CLOCK_ERROR_S_MAX:
        unsure = f"knows the time to {error * 1000:.0f} ms"
        limit = f"at most {CLOCK_ERROR_S_MAX * 1000:.0f} ms"
        problems.append(f"{name} {unsure} ({limit}): bring it nearer to the master.")
    return problems


def check_clock(evidence: Evidence) -> list[Finding]:
    """The wall clock did not step during the run."""
    if not abs(evidence.clock_drift_s) <= DRIFT_S_MAX:
        text = (
            f"The wall clock moved by {evidence.clock_drift_s:.3f} s against the monotonic one"
            f" (at most {DRIFT_S_MAX} s): check time synchronisation."
        )
        return [_invalid("clock", text, "manifest.json")]
    return []


def check_rows(evidence: Evidence) -> list[Finding]:
    """No request ends before it began, and a served one has all its times."""
    rows = evidence.rows
    sent = ~rows.unsent
    impossible = {
        "no finite due time": ~np.isfinite(rows.due),
        "no finite sent or end time": sent & ~(np.isfinite(rows.sent) & np.isfinite(rows.end)),
        "been served without finite token times": rows.served
        & ~(np.isfinite(rows.first) & np.isfinite(rows.last)),
        "an infinite or half-known token time": np.isinf(rows.first)
        | np.isinf(rows.last)
        | (np.isnan(rows.first) != np.isnan(rows.last)),
        "been sent before they were due": rows.sent < rows.due - TICK_S,
        "a token before they were sent": rows.first < rows.sent - TICK_S,
        "their last token before the first": rows.last < rows.first - TICK_S,
        "ended before their last token or before they were sent": (rows.end < rows.last - TICK_S)
        | (rows.end < rows.sent - TICK_S),
        "been served fewer than one token": rows.served & ~(rows.received >= 1),
    }
    found = [
        _invalid("requests", f"{mask.sum()} requests have {what}.", "requests.parquet")
        for what, mask in impossible.items()
        if mask.any()
    ]
    if (np.diff(rows.due) < 0).any():
        found.append(_invalid("requests", "Rows are not in order of due time.", "requests.parquet"))
    index = evidence.requests["index"]
    # A row that stands twice makes up for one that is missing. In order there is none.
    if not (np.diff(index) > 0).all() and (twice := int(index.duplicated().sum())):
        found.append(_invalid("requests", f"{twice} rows stand twice.", "requests.parquet"))
    return found


CHECKS: Sequence[tuple[str, Callable[[Evidence], list[Finding]]]] = (
    ("run", check_outcome),
    ("fault", check_fault),
    ("isolation", check_isolation),
    ("phases", check_phases),
    ("steady state", check_steady_state),
    ("load", check_load),
    ("clock", check_clock),
    ("requests", check_rows),
)
"""In the order in which a person wants to read them."""

_JOURNAL = "injections.jsonl"


def fault_window(evidence: Evidence) -> tuple[float, float] | None:
    """Return first act of harm and proven end, in seconds since the start; None: no harm.

    The end is the run's end where some injection was never proven gone.
    """
    starts: list[float] = []
    ends: list[float] = []
    for entries in _by_injection(evidence.injections).values():
        at = {entry.step: entry.time_unix_s - evidence.t0_unix_s for entry in reversed(entries)}
        start = at.get(InjectionStep.INJECTING, at.get(InjectionStep.INJECTED))
        if start is not None:
            starts.append(start)
            ends.append(at.get(InjectionStep.VERIFIED_REVERTED, math.inf))
    if not starts:
        return None
    run_end = max((phase.end_s for phase in evidence.phases), default=min(starts))
    end = max(ends)
    return min(starts), end if end < math.inf else max(run_end, min(starts))


def _by_injection(entries: Sequence[InjectionEntry]) -> dict[str, list[InjectionEntry]]:
    grouped: dict[str, list[InjectionEntry]] = {}
    for entry in entries:
        grouped.setdefault(entry.injection_id, []).append(entry)
    return grouped


def _invalid(subject: str, text: str, evidence: str = "manifest.json") -> Finding:
    return Finding(Verdict.INVALID, subject, text, evidence)
