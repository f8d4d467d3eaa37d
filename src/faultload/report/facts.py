"""What every report says about a run, worked out once from its record and its judgement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from faultload.judge import BudgetSpent, Expectation, Judgement, Recovery, Verdict
from faultload.record import (
    InjectionEntry,
    Manifest,
    Outcome,
    PhaseName,
    RequestStatus,
    RunDirectory,
)
from faultload.report import formats, rates
from faultload.report.cost import usd
from faultload.report.evidence import evidence_id
from faultload.report.hits import Hit, read_hits
from faultload.spec import SLO, Experiment
from faultload.spec.slo import RequestsSource

VERDICT_MEANING = {
    Verdict.PASS: "The claim held in this run.",
    Verdict.FAIL: "The claim did not hold.",
    Verdict.INCONCLUSIVE: "The evidence is sound and does not decide.",
    Verdict.INVALID: "This run cannot tell what happened; it says nothing about the platform.",
}

_PHASE_LABELS = {
    PhaseName.WARMUP: "warm-up",
    PhaseName.BASELINE: "baseline",
    PhaseName.FAULT: "fault",
    PhaseName.RECOVERY: "recovery",
}

_LATENCIES = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "e2e_s": "whole answer",
    "gap_s_max": "largest silence in a stream",
}


def phase_label(name: PhaseName) -> str:
    """Return the phase's name as people write it."""
    return _PHASE_LABELS[name]


@dataclass(frozen=True)
class TimelineRow:
    """One line of the timeline.

    Attributes:
        t_s: seconds since the run's start; NaN where an event has none.
        source: who said so.
        text: what happened.
        evidence: id of the file it was read from.
    """

    t_s: float
    source: str
    text: str
    evidence: str


@dataclass(frozen=True)
class Facts:
    """Everything a report may use.

    Attributes:
        run, manifest, experiment, slos, judgement, requests, series: as `write_reports` got them.
        events: lines of events.jsonl, in time order.
        injections: the injection journal.
        alerts: those rows of alerts.parquet that fired; None: none was replayed, so nobody can say.
    """

    run: RunDirectory
    manifest: Manifest
    experiment: Experiment
    slos: Sequence[SLO]
    judgement: Judgement
    requests: pd.DataFrame
    series: pd.DataFrame
    events: Sequence[Mapping[str, Any]]
    injections: Sequence[InjectionEntry]
    alerts: pd.DataFrame | None
    hits: Sequence[Hit] = field(init=False)

    def __post_init__(self) -> None:
        """Read the journal once."""
        object.__setattr__(self, "hits", read_hits(self.injections, self.manifest))

    @property
    def was_harmed(self) -> bool:
        """Whether any fault was put in force."""
        return self.judgement.fault_window_s is not None

    @property
    def fault_label(self) -> str:
        """Names of the faults, for the shaded window."""
        return ", ".join(dict.fromkeys(hit.fault for hit in self.hits)) or "fault"

    @property
    def blast(self) -> str:
        """What was hit, in a few words."""
        return "; ".join(hit.summary for hit in self.hits) or "nothing was hit"

    @property
    def worst_recovery(self) -> Recovery | None:
        """The SLO that took longest; one that never recovered is worst. None: none is known."""
        return slowest(self.judgement.recoveries)

    @property
    def worst_budget(self) -> BudgetSpent | None:
        """The SLO whose budget suffered most; None: none is known."""
        return worst_budget(self.judgement.budgets)

    @property
    def failed_requests(self) -> int | None:
        """Rows that ended badly; None: there are no rows."""
        return len(rates.failed_rows(self.requests)) if len(self.requests) else None

    @property
    def open_requests(self) -> int:
        """Rows still open when the load was stopped: they might have ended well."""
        return int((self.requests["status"] == RequestStatus.UNFINISHED).sum())

    @property
    def how_it_ended(self) -> str:
        """The outcome in words, with its reason."""
        outcome = self.manifest.outcome
        text = "completed" if outcome is Outcome.COMPLETED else f"{outcome}, before its time"
        text = f"{text}: {self.manifest.reason}" if self.manifest.reason else text
        return f"{text}; {self.way_back}" if self.way_back else text

    @property
    def way_back(self) -> str:
        """How soon an aborted run's harm was taken back, in words; "" where none aborted it."""
        found = [event for event in self.events if event.get("kind") == "stop_condition"]
        if self.manifest.outcome is not Outcome.ABORTED or not found:
            return ""
        times = found[-1].get("data") or {}
        seen_s, gone_s = (_number(times.get(key)) for key in ("seen_s", "reverted_s"))
        if math.isnan(gone_s):
            return "there was no fault to take back"
        if gone_s < seen_s:
            return "the fault had been taken back before"
        return f"the fault was taken back {formats.seconds(gone_s - seen_s)} later"

    def utc(self, t_s: float, *, date: bool = False) -> str:
        """Return a moment of the run as UTC wall time."""
        return formats.clock_time(self.manifest.clock.t0_unix_s + t_s, date=date)

    def timeline(self) -> list[TimelineRow]:
        """Return events in time order, with phases, journal and findings where events lack them."""
        rows = [
            TimelineRow(
                _number(event.get("t_s")),
                str(event.get("source") or "unknown"),
                str(event.get("text") or event.get("kind") or "no text"),
                evidence_id("events.jsonl"),
            )
            for event in self.events
        ]
        told = {row.source for row in rows}
        if "harness" not in told:
            rows += self._phase_rows()
        if "fault" not in told:
            rows += [
                TimelineRow(t, "fault", f"{hit.fault}: {step}", evidence_id("injections.jsonl"))
                for hit in self.hits
                for step, t in hit.steps
            ]
        if "judge" not in told:
            rows += self._judge_rows()
        rows += self._alert_rows()
        return sorted(rows, key=lambda r: math.inf if math.isnan(r.t_s) else r.t_s)

    def _phase_rows(self) -> list[TimelineRow]:
        return [
            TimelineRow(
                p.start_s, "harness", f"{phase_label(p.name)} begins", evidence_id("manifest.json")
            )
            for p in self.manifest.phases
        ]

    def _judge_rows(self) -> list[TimelineRow]:
        if self.judgement.fault_window_s is None:
            return []
        harm_s = self.judgement.fault_window_s[0]
        rows = []
        for recovery in self.judgement.recoveries:
            for after_s, what in (
                (recovery.impact_s, "first effect on users"),
                (recovery.detect_s, "the harness's change detector alarms"),
                (recovery.recovery_s or None, "met again, and stays met"),
            ):
                if after_s is not None:
                    text = f"{recovery.slo}: {what}"
                    evidence = evidence_id("requests.parquet")
                    rows.append(TimelineRow(harm_s + after_s, "judge", text, evidence))
        return rows

    def _alert_rows(self) -> list[TimelineRow]:
        if self.alerts is None:
            return []
        rows = []
        for alert in self.alerts.to_dict("records"):
            name = f"alert {alert['alert']} ({alert['severity']})"
            for key, verb in (("start_s", "fires"), ("end_s", "resolves")):
                if not math.isnan(_number(alert[key])):
                    evidence = evidence_id("alerts.parquet")
                    rows.append(TimelineRow(alert[key], "alert", f"{name} {verb}", evidence))
        return rows


def in_words(slo: SLO) -> str:
    """Return the SLO for people: `95 % of fast requests: time to first token ≤ 250 ms`."""
    if not isinstance(slo.source, RequestsSource):
        return slo.statement
    query = slo.source.spec
    condition = query.condition
    good = "answered completely"
    if condition.kind == "intact":
        good = "every token delivered once, of the streams that began"
    elif condition.kind == "latency":
        good = f"{_LATENCIES[condition.column]} ≤ {formats.milliseconds(condition.limit_s)}"
    return f"{formats.percent(slo.target)} of {query.tier or 'all'} requests: {good}"


def slowest(recoveries: Iterable[Recovery]) -> Recovery | None:
    """Return the slowest recovery; one that never came is slowest. None: none is known."""
    known = [r for r in recoveries if r.recovery_s is not None or r.censored_at_s is not None]
    return max(known, key=_slowness, default=None)


def worst_budget(budgets: Iterable[BudgetSpent]) -> BudgetSpent | None:
    """Return the SLO whose budget suffered most; None: none is known."""
    known = [b for b in budgets if not formats.is_missing(b.budget_percent)]
    return max(known, key=lambda b: b.budget_percent, default=None)


def runs_differ(judgement: Judgement) -> str:
    """Return whether the verdict counts in how runs differ; "": no SLO was judged."""
    judged = [p for p in judgement.phases if p.verdict is not None]
    known = {p.slo for p in judged if p.between_runs}
    others = {p.slo for p in judged} - known
    if not judged:
        return ""
    if not known:
        return "this run only: how runs differ is not known"
    return "how runs differ is counted in" + (
        f" for {', '.join(sorted(known))}, and not known of the others" if others else ""
    )


def _slowness(recovery: Recovery) -> tuple[bool, float]:
    if recovery.recovery_s is None:
        return (True, recovery.censored_at_s or 0.0)
    return (False, recovery.recovery_s)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def recovery_text(recovery: Recovery | None) -> str:
    """Return `12.4 s ± 3.0 s`, or how long was watched in vain."""
    if recovery is None or (recovery.recovery_s is None and recovery.censored_at_s is None):
        return formats.NO_DATA
    if recovery.recovery_s is None:
        return f"not within {formats.seconds(recovery.censored_at_s)}"
    if recovery.recovery_s == 0 and recovery.impact_s is None:
        return "0 s: no effect was seen"
    return f"{formats.seconds(recovery.recovery_s)} ± {formats.seconds(recovery.error_s)}"


def claim(expectation: Expectation) -> tuple[str, str]:
    """Return (claimed, found) in the unit that the claim's name carries."""
    name = expectation.name
    if "percent" in name:
        text = formats.percent_points
    elif name.startswith("usd_"):
        text = usd
    elif "_s_" in name or name.endswith("_s"):
        text = _plain_seconds
    else:
        text = formats.number
    sign = "at most " if name.endswith("_max") else "at least " if name.endswith("_min") else ""
    found = "not measured" if formats.is_missing(expectation.found) else text(expectation.found)
    return f"{sign}{text(expectation.limit)}", found


def _plain_seconds(value: float | None) -> str:
    return f"{formats.number(value)}{formats.THIN}s"
