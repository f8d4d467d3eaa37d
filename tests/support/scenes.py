"""Synthetic runs for the judge's tests: 30 s of steady state, a fault, and what came of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from faultload.judge import Evidence
from faultload.record import (
    REQUEST_SCHEMA,
    InjectionEntry,
    InjectionStep,
    LoadSummary,
    Outcome,
    Phase,
    PhaseName,
    WorkerHealth,
)
from faultload.spec.experiment import Expects
from faultload.spec.slo import SLO

T0 = 1_700_000_000.0
HARM, GONE, END = 40.0, 60.0, 160.0
PHASES = (
    Phase(name=PhaseName.WARMUP, start_s=0.0, end_s=10.0),
    Phase(name=PhaseName.BASELINE, start_s=10.0, end_s=HARM),
    Phase(name=PhaseName.FAULT, start_s=HARM, end_s=GONE),
    Phase(name=PhaseName.RECOVERY, start_s=GONE, end_s=END),
)


def slo(
    name: str = "availability",
    good: str = "served",
    target: float = 0.95,
    tier: str | None = None,
    promql: tuple[str, str] | None = None,
) -> SLO:
    """Return an SLO over request rows, or over a pair of PromQL queries."""
    source: dict[str, Any] = {"type": "requests", "spec": {"tier": tier, "good": good}}
    if promql:
        source = {"type": "prometheus", "spec": {"good": promql[0], "total": promql[1]}}
    indicator = {"ratioMetric": {"rawType": "success", "raw": {"metricSource": source}}}
    return SLO.model_validate(
        {
            "apiVersion": "openslo/v1",
            "kind": "SLO",
            "metadata": {"name": name},
            "spec": {
                "description": name,
                "service": "chat",
                "indicator": {"metadata": {"name": name}, "spec": indicator},
                "timeWindow": [{"duration": "30d", "isRolling": True}],
                "budgetingMethod": "Occurrences",
                "objectives": [{"target": target}],
            },
        }
    )


def rows(due: np.ndarray, bad: np.ndarray | None = None, **columns: Any) -> pd.DataFrame:
    """Return request rows: served within 0.3 s, or refused at once where `bad`.

    Columns given by name replace what a healthy run would hold.
    """
    count = len(due)
    bad = np.zeros(count, dtype=bool) if bad is None else np.asarray(bad, dtype=bool)
    frame = pd.DataFrame(
        {
            "index": np.arange(count),
            "due_s": due,
            "sent_s": due,
            "first_token_s": np.where(bad, np.nan, due + 0.05),
            "last_token_s": np.where(bad, np.nan, due + 0.25),
            "end_s": np.where(bad, due + 0.01, due + 0.25),
            "status": np.where(bad, "http_error", "ok").astype(object),
            "http_status": np.where(bad, 503, 200),
            "finish_reason": np.where(bad, "", "stop").astype(object),
            "tier": np.full(count, "fast", dtype=object),
            "model": "m",
            "tenant": "t",
            "session": "",
            "prompt_tokens": 100,
            "output_tokens_asked": 21,
            "output_tokens": np.where(bad, 0, 21),
            "tokens_duplicated": 0,
            "tokens_missing": 0,
            "gap_s_max": np.where(bad, np.nan, 0.02),
            "served_by": "r0",
            "retries": 0,
            "migrations": 0,
            "connection_reused": True,
            "worker": 0,
            "error": "",
        },
        columns=REQUEST_SCHEMA.names,
    )
    return frame.assign(**columns)


def steady(rate: float = 40.0, end: float = END) -> np.ndarray:
    """Return due times, evenly spread."""
    return np.arange(int(rate * end)) / rate


def outage(
    start: float = HARM + 2, end: float = HARM + 12, rate: float = 40.0, share: float = 1.0
) -> pd.DataFrame:
    """Return a run in which `share` of the requests due in [start, end) were refused."""
    due = steady(rate)
    turn = np.arange(len(due)) % 100 < share * 100
    return rows(due, (due >= start) & (due < end) & turn)


def journal(*steps: InjectionStep, name: str = "i1") -> list[InjectionEntry]:
    """Return a journal of one injection: all steps in order, or those given."""
    at = {
        InjectionStep.PLANNED: HARM - 0.1,
        InjectionStep.INJECTING: HARM,
        InjectionStep.INJECTED: HARM + 0.1,
        InjectionStep.VERIFIED: HARM + 0.5,
        InjectionStep.REVERTING: GONE - 1,
        InjectionStep.REVERTED: GONE - 0.5,
        InjectionStep.VERIFIED_REVERTED: GONE,
        InjectionStep.FAILED: HARM + 0.2,
    }
    wanted = steps or tuple(step for step in at if step is not InjectionStep.FAILED)
    return [InjectionEntry(name, step, "kill_replica", T0 + at[step]) for step in wanted]


def scene(requests: pd.DataFrame | None = None, **changes: Any) -> Evidence:
    """Return sound evidence of a harmless fault, with changes."""
    requests = outage() if requests is None else requests
    count = len(requests)
    evidence = Evidence(
        requests=requests,
        phases=PHASES,
        injections=journal(),
        t0_unix_s=T0,
        slos=[slo()],
        expects=Expects(recovery_s_max=30, budget_percent_max=1, streams_lost_max=5),
        gaps=(),
        outcome=Outcome.COMPLETED,
        reason="",
        aborted_by_person=False,
        steady_state_met=True,
        load=load(count),
        clock_drift_s=0.001,
        coverage={"up": 1.0},
    )
    return replace(evidence, **changes)


def load(count: int, **changes: Any) -> LoadSummary:
    """Return what a good load client says of `count` requests."""
    summary = LoadSummary(
        requests_due=count,
        requests_sent=count,
        rows=count,
        lag_s_p99=0.002,
        cpu_share_max=0.4,
        workers=1,
    )
    return summary.model_copy(update=changes)


def health(**changes: Any) -> WorkerHealth:
    """Return what a good load worker sees of itself."""
    good = WorkerHealth(
        worker=0,
        requests_sent=100,
        lag_s_p50=0.0005,
        lag_s_p99=0.002,
        lag_s_max=0.008,
        cpu_share_mean=0.2,
        cpu_share_max=0.4,
        stall_s_max=0.012,
        stalls=0,
        stalled_share=0.0,
        clock_step_s_max=0.0001,
        clock_error_s=0.0,
        streams_max=30,
        connections_reused_share=0.97,
        rows_lost=0,
    )
    return good.model_copy(update=changes)
