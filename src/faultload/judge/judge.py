"""The verdict on one run: invalid > fail > inconclusive > pass, and no evidence is never a pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pandas as pd

from faultload.judge import validity
from faultload.judge.alerts import judge_alerts
from faultload.judge.budget import count_streams_lost, spend_budget, spend_counted
from faultload.judge.cost import count_tokens, readings_of, work_out
from faultload.judge.cost_model import Cost
from faultload.judge.expectations import as_percent, hold_claims, hold_cost
from faultload.judge.goodput import add_goodput
from faultload.judge.ledger import balance_tokens
from faultload.judge.model import (
    BudgetSpent,
    Evidence,
    Expectation,
    Finding,
    Judgement,
    PhaseResult,
    Recovery,
    TokenLedger,
    Verdict,
    by_severity,
    worst,
)
from faultload.judge.recovery import estimate_recovery
from faultload.judge.rows import Rows
from faultload.judge.scaling import hold_scaling
from faultload.judge.scorecard import make_scorecard
from faultload.judge.slo import Events, events_of, judge_counted, judge_phase
from faultload.judge.stages import split_recovery
from faultload.judge.tails import find_degraded
from faultload.record import REQUEST_SCHEMA, Outcome, Phase, PhaseName
from faultload.spec.slo import SLO, PrometheusSource, RequestsSource

COVERAGE_MIN = 0.95
"""A series with a smaller share of its samples cannot carry a verdict."""

_T = TypeVar("_T")


def judge(evidence: Evidence) -> Judgement:
    """Judge one run by the precedence rule.

    1. *Invalid*: a validity check found that we cannot tell what happened.
    2. *Fail*: a claim is broken or a phase provably over budget, in complete client rows, whatever
       telemetry went missing; or a stop condition had to end the run.
    3. *Inconclusive*: the evidence is sound and does not decide, for one SLO or claim at least.
    4. *Pass*: every SLO in every judged phase, and every claim, was seen to hold in this run.

    Never raises: a check that breaks says so in a finding that is invalid.
    """
    case = _Case(evidence)
    for subject, check in validity.CHECKS:
        case.findings += case.attempt_all(subject, partial(check, evidence))
    case.findings += case.attempt_all("run", lambda: _judge_outcome(evidence))
    recoveries = case.attempt_all("recovery", case.recoveries)
    budgets = case.attempt_all("budget", case.budgets)
    lost = case.attempt("streams", case.streams_lost, None)
    cost = case.attempt("cost", case.cost, None)
    claims = case.attempt_all("claims", lambda: case.claims(recoveries, budgets, lost))
    claims += case.attempt_all("claims", lambda: hold_cost(evidence.expects, cost))
    case.findings += [_claim_finding(claim) for claim in claims]
    phases = case.attempt_all("objectives", lambda: case.phases(recoveries))
    case.findings += case.attempt_all("objectives", lambda: _phase_findings(phases, evidence))
    case.findings += case.attempt_all("telemetry", lambda: _telemetry_findings(evidence))
    tokens = case.attempt(
        "tokens", lambda: balance_tokens(case.rows), TokenLedger(0, 0, 0, 0, 0, 0)
    )
    alerts = case.attempt_all(
        "alerts", lambda: judge_alerts(evidence.alerts, recoveries, case.window)
    )
    shown = case.shown(recoveries, readings_of(cost))

    findings = sorted(case.findings, key=lambda finding: by_severity(finding.verdict))
    verdict = worst(finding.verdict for finding in findings)
    if verdict is not Verdict.PASS:
        shown["degraded"] = []
    return Judgement(
        verdict=verdict,
        reason=_reason(verdict, findings, claims),
        findings=findings,
        phases=phases,
        recoveries=recoveries,
        budgets=budgets,
        expectations=claims,
        streams_lost=lost or 0,
        requests=len(evidence.requests),
        tokens=tokens,
        fault_window_s=case.window,
        alerts=alerts,
        cost=cost,
        **shown,
    )


class _Case:
    """One run under judgement: its evidence taken apart once, and the findings so far."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.findings: list[Finding] = []
        self.window = self.attempt("fault", partial(validity.fault_window, evidence), None)
        self.end_s = max((phase.end_s for phase in evidence.phases), default=0.0)
        nothing = Rows.of(pd.DataFrame(columns=REQUEST_SCHEMA.names))
        self.rows = self.attempt("requests", lambda: evidence.rows, nothing)
        self.events: dict[str, Events] = self.attempt("requests", self._count, {})

    def attempt(self, subject: str, check: Callable[[], _T], otherwise: _T) -> _T:
        """Run a check; one that breaks leaves an invalid finding and never a pass."""
        try:
            return check()
        except Exception as error:  # noqa: BLE001  # whatever broke, the verdict must say so
            text = f"The check of {subject} broke: {type(error).__name__}: {error}."
            self.findings.append(Finding(Verdict.INVALID, subject, text, "judge"))
            return otherwise

    def attempt_all(self, subject: str, check: Callable[[], list[_T]]) -> list[_T]:
        """Run a check that returns a list; empty where it broke."""
        nothing: list[_T] = []
        return self.attempt(subject, check, nothing)

    def _count(self) -> dict[str, Events]:
        harm_s = self.window[0] if self.window else None
        return {
            slo.name: events_of(self.rows, slo.source, harm_s)
            for slo in self.evidence.slos
            if isinstance(slo.source, RequestsSource)
        }

    def recoveries(self) -> list[Recovery]:
        if self.window is None:
            return []
        return [
            estimate_recovery(slo.name, slo.budget, self.events[slo.name], self.window, self.end_s)
            for slo in self.evidence.slos
            if slo.name in self.events
        ]

    def budgets(self) -> list[BudgetSpent]:
        if self.window is None:
            return []
        spent: list[BudgetSpent | None] = []
        for slo in self.evidence.slos:
            if slo.name in self.events:
                events = self.events[slo.name]
                spent.append(spend_budget(slo, events, self.window[0], self.end_s))
            else:
                counted = [(p, self._counted(slo, p)) for p in self.evidence.phases]
                spent.append(spend_counted(slo, counted, self.evidence.scrape_interval_s))
        return [one for one in spent if one is not None]

    def streams_lost(self) -> int | None:
        return count_streams_lost(self.rows, self.window[0]) if self.window else None

    def claims(
        self, recoveries: Sequence[Recovery], budgets: Sequence[BudgetSpent], lost: int | None
    ) -> list[Expectation]:
        known = {spent.slo for spent in budgets}
        names = [slo.name for slo in self.evidence.slos if not _gap_declared(slo, self.evidence)]
        claims = hold_claims(
            self.evidence.expects,
            recoveries=recoveries,
            budgets=budgets,
            streams_lost=lost,
            injections=self.evidence.injections,
            complete=self.evidence.outcome is Outcome.COMPLETED,
            unknown=[name for name in names if name not in known],
        )
        return [*claims, *hold_scaling(self.evidence, self.window)]

    def cost(self) -> Cost | None:
        about = self.evidence
        if about.fleet is None:
            return None
        tokens = count_tokens(about.requests, about.slos, self.rows)
        return work_out(
            about.fleet, about.phases, tokens, about.prices, time_scale=about.time_scale
        )

    def phases(self, recoveries: Sequence[Recovery]) -> list[PhaseResult]:
        recovered = {r.slo: r.recovery_s for r in recoveries if r.recovery_s is not None}
        results: list[PhaseResult] = []
        for slo in self.evidence.slos:
            for phase in self.evidence.phases:
                if slo.name not in self.events:
                    counted = self._counted(slo, phase)
                    result = judge_counted(slo, phase, counted, self.evidence.scrape_interval_s)
                    if not counted and _excused(slo, phase, self.evidence):
                        result = replace(result, verdict=None)
                else:
                    start_s = phase.start_s
                    if phase.name is PhaseName.RECOVERY and self.window:
                        start_s = max(start_s, self.window[0] + recovered.get(slo.name, 0.0))
                    history = self.evidence.history.get(slo.name, ())
                    result = judge_phase(slo, self.events[slo.name], phase, start_s, history)
                results.append(result)
        return results

    def shown(self, recoveries: list[Recovery], readings: Mapping[str, float]) -> dict[str, Any]:
        """Return what is shown beside the verdict; `readings` are the scorecard's."""
        window = self.window
        evidence = replace(self.evidence, readings={**readings, **self.evidence.readings})
        harm_s, slos, phases = window[0] if window else None, evidence.slos, evidence.phases
        parts: dict[str, Callable[[], list[Any]]] = {
            "stages": lambda: split_recovery(evidence, self.rows, window, recoveries),
            "degraded": lambda: find_degraded(slos, self.events, phases, harm_s),
            "goodput": lambda: add_goodput(self.rows, slos, phases, harm_s),
            "scorecard": lambda: make_scorecard(evidence, self.rows, harm_s),
        }
        return {name: self.attempt_all(name, part) for name, part in parts.items()}

    def _counted(self, slo: SLO, phase: Phase) -> tuple[float, float] | None:
        return self.evidence.counted.get((slo.name, phase.name))


def _judge_outcome(evidence: Evidence) -> list[Finding]:
    findings = []
    if evidence.outcome is Outcome.ABORTED and not evidence.aborted_by_person:
        why = evidence.reason or "no reason given"
        text = f"A stop condition ended the run: {why}."
        findings.append(Finding(Verdict.FAIL, "run", text, "manifest.json"))
    if not evidence.slos:
        text = "There is no SLO to judge against: name one in the experiment."
        findings.append(Finding(Verdict.INCONCLUSIVE, "objectives", text, "slos.yaml"))
    return findings


def _claim_finding(claim: Expectation) -> Finding:
    text = f"{claim.text[0].upper()}{claim.text[1:]}."
    elsewhere = {"revert_s_max": "injections.jsonl", "usd_per_1m_tokens_max": "series.parquet"}
    where = elsewhere.get(claim.name, "requests.parquet")
    return Finding(claim.verdict, claim.name, text, where)


def _phase_findings(phases: Sequence[PhaseResult], evidence: Evidence) -> list[Finding]:
    counted = {s.name for s in evidence.slos if isinstance(s.source, PrometheusSource)}
    findings = []
    for result in phases:
        if result.verdict is None:
            continue
        where = "before the fault" if result.phase is PhaseName.BASELINE else "after recovery"
        found = "no data"
        if result.bad_ratio is not None:
            found = f"{result.bad} of {result.events} bad ({as_percent(result.bad_ratio)})"
        text = f"{result.slo} {where}: {found}, {as_percent(result.budget)} allowed."
        if result.verdict is Verdict.INVALID:
            text = f"The steady state was not met: {text}"
        elif result.verdict is Verdict.INCONCLUSIVE and result.events:
            text += _undecided(result)
        source = "series.parquet" if result.slo in counted else "requests.parquet"
        findings.append(Finding(result.verdict, result.slo, text, source))
    return findings


def _undecided(result: PhaseResult) -> str:
    if result.between_runs and result.interval is not None:
        bound = as_percent(result.interval[1])
        return f" Runs like it may have up to {bound} bad: observe for longer, or over more runs."
    return " Too few to decide: observe for longer or raise the load."


def _telemetry_findings(evidence: Evidence) -> list[Finding]:
    """Say which SLOs rest on a series that has holes; a hole nobody rests on is only mentioned.

    Where every series has holes it was Prometheus that was away, and that is never a pass: what the
    platform would have said about this run is not known.
    """
    shares = [share for name, share in evidence.coverage.items() if name not in evidence.gaps]
    if shares and max(shares) < COVERAGE_MIN:
        text = (
            f"Prometheus was away: {max(shares):.0%} of the samples of its best series came."
            " See that it is up, or declare the series in `gaps` if the fault takes them away."
        )
        return [Finding(Verdict.INCONCLUSIVE, "telemetry", text, "series.parquet")]
    findings = []
    for series, share in sorted(evidence.coverage.items()):
        if share >= COVERAGE_MIN or series in evidence.gaps:
            continue
        users = [slo.name for slo in evidence.slos if _mentions(slo, series)]
        verdict = Verdict.INCONCLUSIVE if users else Verdict.PASS
        text = f"{series}: {share:.0%} of its samples came"
        text += f", and {', '.join(users)} rests on it." if users else "; no objective rests on it."
        findings.append(
            Finding(verdict, users[0] if users else "telemetry", text, "series.parquet")
        )
    return findings


def _mentions(slo: SLO, series: str) -> bool:
    if not isinstance(slo.source, PrometheusSource):
        return False
    query = f"{slo.source.spec.good} {slo.source.spec.total}"
    return re.search(rf"(?<![\w:]){re.escape(series)}(?![\w:])", query) is not None


def _gap_declared(slo: SLO, evidence: Evidence) -> bool:
    return any(_mentions(slo, series) for series in evidence.gaps)


def _excused(slo: SLO, phase: Phase, evidence: Evidence) -> bool:
    """A declared gap is the fault's doing, so it excuses nothing before the fault."""
    return phase.name is not PhaseName.BASELINE and _gap_declared(slo, evidence)


def _reason(verdict: Verdict, findings: Sequence[Finding], claims: Sequence[Expectation]) -> str:
    if verdict is Verdict.PASS:
        held = ", ".join(claim.text for claim in claims)
        return f"Users kept their objectives in this run{': ' if held else ''}{held}."
    same = [finding for finding in findings if finding.verdict is verdict]
    if not same:
        return "Nothing was measured that could be judged."
    more = f" (and {len(same) - 1} more)" if len(same) > 1 else ""
    return f"{same[0].text.removesuffix('.')}{more}."
