"""From the verdict to its findings, to their numbers, to the rows and samples behind each.

Rows are named by text that pandas understands (`faultload.judge.expressions`), so that anybody can
count them again from the record alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from faultload.judge.absolute import HISTORY_MIN, Spread
from faultload.judge.expectations import slowest_of
from faultload.judge.expressions import Rules, in_window, rules_of
from faultload.judge.model import Evidence, Finding, Judgement, PhaseResult, Verdict
from faultload.judge.recovery import HOLD_S
from faultload.judge.scaling import REFUSALS
from faultload.judge.slo import events_of, judge_phase, patience_of
from faultload.judge.validity import LOAD_CLIENT
from faultload.record import InjectionStep, PhaseName
from faultload.spec.promql import parse_counter
from faultload.spec.slo import SLO, PrometheusSource, RequestsSource

WORST = 5
"""So many requests, and so many seconds, are named."""
_REQUESTS, _SERIES, _HISTORY = "requests.parquet", "series.parquet", "history.json"


@dataclass(frozen=True)
class Number:
    """One number and where it comes from.

    Attributes:
        name: as in the judgement, unit last.
        value: None: there is none.
        how: what was done with the rows to get it.
        file: in the record.
        rows: which rows of a table, as `pandas.DataFrame.query(..., engine="python")` takes it; of
            a JSON file, the key.
        count: how many rows those are; None: not a table.
        worst: of requests, the `index` of those that took longest, with status and seconds.
        seconds: of bad requests, the seconds in which most were due, with how many.
    """

    name: str
    value: float | str | bool | None
    how: str
    file: str
    rows: str
    count: int | None = None
    worst: Sequence[Mapping[str, Any]] = ()
    seconds: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class Explained:
    """One finding and its numbers; without any it is a fact that the evidence states itself."""

    verdict: Verdict
    subject: str
    text: str
    evidence: str
    numbers: Sequence[Number] = field(default_factory=list)


@dataclass(frozen=True)
class Explanation:
    """The verdict, taken apart; findings worst first."""

    verdict: Verdict
    reason: str
    findings: Sequence[Explained]

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def explain(evidence: Evidence, judgement: Judgement, series: pd.DataFrame) -> Explanation:
    """Return the explanation of a judgement.

    Args:
        evidence: what was judged.
        judgement: what was said of it.
        series: the record's samples.
    """
    case = _Case(evidence, judgement, series)
    findings = [
        Explained(f.verdict, f.subject, f.text, f.evidence, list(case.numbers(f)))
        for f in judgement.findings
    ]
    return Explanation(judgement.verdict, judgement.reason, findings)


class _Case:
    def __init__(self, evidence: Evidence, judgement: Judgement, series: pd.DataFrame) -> None:
        self.evidence, self.judgement, self.series = evidence, judgement, series
        window = judgement.fault_window_s
        self.harm_s = window[0] if window else None
        self.end_s = max((phase.end_s for phase in evidence.phases), default=0.0)
        self.slos = {slo.name: slo for slo in evidence.slos}
        self.patience_s = patience_of(evidence.rows)

    def numbers(self, finding: Finding) -> Iterator[Number]:
        """Yield the numbers of one finding, the one that decides first."""
        results = [p for p in self.judgement.phases if p.slo == finding.subject and p.verdict]
        for result in results:
            if _says(result, finding):
                yield from self._phase(result)
                return
        claims: dict[str, Any] = {
            "recovery_s_max": self._recovery,
            "budget_percent_max": self._budget,
            "streams_lost_max": self._streams,
            "revert_s_max": self._reverts,
            "refused_max": self._refused,
            "scale_up_s_max": self._replicas,
            "scale_down_s_max": self._replicas,
        }
        if finding.subject in claims:
            yield from claims[finding.subject]()
        elif finding.evidence == "manifest.json":
            yield from self._manifest(finding.subject)
        elif finding.evidence == "injections.jsonl":
            yield self._count_table("entries", "rows of the journal", finding.evidence)
        elif finding.evidence == _SERIES:
            yield from self._coverage()

    def _rules(self, slo: SLO) -> Rules | None:
        if not isinstance(slo.source, RequestsSource):
            return None
        return rules_of(slo.source.spec, self.patience_s)

    def _phase(self, result: PhaseResult) -> Iterator[Number]:
        slo = self.slos[result.slo]
        phase = next(p for p in self.evidence.phases if p.name is result.phase)
        yield Number("budget", slo.budget, "1 - target", "slos.yaml", f"{slo.name}: target")
        rules = self._rules(slo)
        if rules is None:
            yield from self._counted(slo, phase.start_s, phase.end_s, result)
            return
        start_s = phase.start_s
        if result.phase is PhaseName.RECOVERY and self.harm_s is not None:
            found = [r.recovery_s for r in self.judgement.recoveries if r.slo == slo.name]
            start_s = max(start_s, self.harm_s + (found[0] or 0.0 if found else 0.0))
        yield from self._shares(rules, start_s, phase.end_s, result)
        assert isinstance(slo.source, RequestsSource)  # noqa: S101  # only those have rules
        events = events_of(self.evidence.rows, slo.source, self.harm_s)
        yield from self._between(result, judge_phase(slo, events, phase, start_s))

    def _between(self, result: PhaseResult, alone: PhaseResult) -> Iterator[Number]:
        """Yield what earlier runs say of how runs differ, and what that changed."""
        ratios = self.evidence.history.get(result.slo, ())
        rows = f"runs[].slos.{result.slo}"
        told = f"how runs differ is not known before there are {HISTORY_MIN}"
        how = f"accepted ones; {told} with a bad request, and few without"
        yield Number("earlier_runs", len(ratios), how, _HISTORY, rows)
        spread = Spread.of(ratios)
        if not result.between_runs or spread is None:
            return
        how = "standard deviation of the natural logarithms of their bad ratios"
        yield Number("between_runs", spread.sd, how, _HISTORY, rows)
        how = "of this run only: the interval with how runs differ left out"
        for name, value in zip(("low", "high"), alone.interval or (), strict=False):
            yield Number(f"alone_{name}", value, how, _REQUESTS, "those of the interval")
        said = str(alone.verdict) if alone.verdict else None
        yield Number("alone", said, "what this run only would say", _REQUESTS, "the same")

    def _shares(
        self, rules: Rules, start_s: float, end_s: float, result: PhaseResult
    ) -> Iterator[Number]:
        events = in_window(rules, start_s, end_s, self.harm_s)
        bad = f"{events} and {rules.bad}"
        yield self._requests("bad_ratio", result.bad_ratio, "rows of bad / rows of events", bad)
        yield self._requests("bad", result.bad, "count", bad, worst=True)
        yield self._requests("events", result.events, "count", events)
        if result.interval is not None:
            among = "earlier runs and " if result.between_runs else ""
            how = f"90 %, from the spread between {among}seconds (docs/statistics.md)"
            for name, value in zip(("low", "high"), result.interval, strict=True):
                yield self._requests(f"interval_{name}", value, how, events)

    def _counted(
        self, slo: SLO, start_s: float, end_s: float, result: PhaseResult
    ) -> Iterator[Number]:
        assert isinstance(slo.source, PrometheusSource)  # noqa: S101  # the other kind is rows
        pair = self.evidence.counted.get((slo.name, result.phase)) or (None, None)
        queries = (("good", slo.source.spec.good), ("total", slo.source.spec.total))
        for value, (name, query) in zip(pair, queries, strict=True):
            counter = parse_counter(query)
            metric = counter.metric if counter else query
            rows = f"series == {metric!r} and t_s > {start_s!r} and t_s <= {end_s!r}"
            how = f"increase of {query} between the phase's edges, resets handled"
            yield self._samples(name, value, how, rows)

    def _recovery(self) -> Iterator[Number]:
        known = self.judgement.recoveries
        if self.harm_s is None or not known:
            return
        slowest = slowest_of(known)
        rules = self._rules(self.slos[slowest.slo])
        if rules is None:
            return
        events = in_window(rules, self.harm_s, self.end_s, self.harm_s)
        bad = f"{events} and {rules.bad}"
        how = f"of {slowest.slo}: from the harm at {self.harm_s:.3f} s, by the bad ratio by second"
        yield self._requests("recovery_s", slowest.recovery_s, how, bad, worst=True)
        yield self._requests("impact_s", slowest.impact_s, how, bad)
        yield self._requests("error_s", slowest.error_s, "by request rate", events)
        looked = slowest.recovery_s if slowest.recovery_s is not None else slowest.censored_at_s
        if slowest.recovery_s is None:
            yield self._requests("censored_at_s", looked, "good from then on, not surely", bad)
        start_s = self.harm_s + (looked or 0.0)
        stop_s = min(start_s + HOLD_S, self.end_s)
        if looked:
            hold = in_window(rules, start_s, stop_s, self.harm_s)
            count = self._count(f"{hold} and {rules.bad}")
            how = f"count, in the {stop_s - start_s:.0f} s from then on"
            yield self._requests("bad_in_hold", count, how, f"{hold} and {rules.bad}")
            yield self._requests("events_in_hold", self._count(hold), how, hold)

    def _budget(self) -> Iterator[Number]:
        if self.harm_s is None or not self.judgement.budgets:
            return
        largest = max(self.judgement.budgets, key=lambda spent: spent.budget_percent)
        slo = self.slos[largest.slo]
        minutes = f"(1 - target) of {slo.window_s / 60:g} minutes"
        rules = self._rules(slo)
        how = f"of {slo.name}: bad_minutes / budget_minutes"
        if rules is None:
            yield from self._replay(slo, largest.bad_minutes)
            return
        events = in_window(rules, self.harm_s, self.end_s, self.harm_s)
        bad = f"{events} and {rules.bad}"
        yield self._requests("budget_percent", largest.budget_percent, how, bad)
        seconds = f"sum of bad / events by second from {self.harm_s!r} s on, / 60"
        yield self._requests("bad_minutes", largest.bad_minutes, seconds, bad, worst=True)
        yield self._requests("events", self._count(events), "count", events)
        yield Number(
            "budget_minutes", largest.budget_minutes, minutes, "slos.yaml", f"{slo.name}: target"
        )

    def _replay(self, slo: SLO, minutes: float) -> Iterator[Number]:
        yield Number(
            "bad_minutes", minutes, f"of {slo.name}: by phase, from its counters", _SERIES, slo.name
        )

    def _streams(self) -> Iterator[Number]:
        if self.harm_s is None:
            return
        rows = (
            "first_token_s.notna() and status not in ['ok', 'unfinished', 'unsent']"
            f" and end_s >= {self.harm_s!r}"
        )
        yield self._requests("streams_lost", self.judgement.streams_lost, "count", rows, worst=True)

    def _refused(self) -> Iterator[Number]:
        if self.harm_s is None:
            return
        rows = f"http_status in {list(REFUSALS)} and end_s >= {self.harm_s!r}"
        how = "count; traffic that a fault added is in its entry of injections.jsonl"
        yield self._requests("refused", self._count(rows), how, rows, worst=True)

    def _reverts(self) -> Iterator[Number]:
        steps = [str(InjectionStep.REVERTING), str(InjectionStep.VERIFIED_REVERTED)]
        for name in sorted({entry.injection_id for entry in self.evidence.injections}):
            at: dict[str, float] = {}
            for entry in self.evidence.injections:
                if entry.injection_id == name and entry.step in steps:
                    at.setdefault(str(entry.step), entry.time_unix_s)
            rows = f"injection_id == {name!r} and step in {steps}"
            took = at[steps[1]] - at[steps[0]] if len(at) == len(steps) else None
            how = f"time_unix_s of the first {steps[1]} less that of the first {steps[0]}"
            yield Number("revert_s", took, how, "injections.jsonl", rows, len(at))

    def _replicas(self) -> Iterator[Number]:
        names = ("kube_deployment_spec_replicas", "kube_deployment_status_replicas_available")
        for name in names:
            yield self._samples(name, None, "by tier, over time", f"series == {name!r}")

    def _manifest(self, subject: str) -> Iterator[Number]:
        evidence = self.evidence
        keys: dict[str, Any] = {"run": {"outcome": str(evidence.outcome)}}
        keys["clock"] = {"clock.wall_drift_s": evidence.clock_drift_s}
        if evidence.load is not None:
            load = evidence.load.model_dump(exclude={"health"})
            keys["load"] = {f"load.{key}": value for key, value in load.items()}
            keys[LOAD_CLIENT] = keys["load"]
        for key, value in keys.get(subject, {}).items():
            yield Number(key.rpartition(".")[2], value, "as recorded", "manifest.json", key)

    def _coverage(self) -> Iterator[Number]:
        for name, share in sorted(self.evidence.coverage.items()):
            how = "of the samples that were to come, the share that did"
            yield self._samples(name, share, how, f"series == {name!r}")

    def _count(self, rows: str) -> int:
        return len(self.evidence.requests.query(rows, engine="python"))

    def _count_table(self, name: str, how: str, file: str) -> Number:
        count = len(self.evidence.injections)
        return Number(name, count, how, file, "index == index", count)

    def _samples(self, name: str, value: float | None, how: str, rows: str) -> Number:
        count = len(self.series.query(rows, engine="python"))
        return Number(name, value, how, _SERIES, rows, count)

    def _requests(
        self, name: str, value: float | None, how: str, rows: str, *, worst: bool = False
    ) -> Number:
        chosen = self.evidence.requests.query(rows, engine="python")
        if not worst:
            return Number(name, value, how, _REQUESTS, rows, len(chosen))
        took = (chosen["end_s"] - chosen["due_s"]).to_numpy(dtype=np.float64)
        order = np.argsort(-np.nan_to_num(took, nan=-1.0), kind="stable")[:WORST]
        slowest = [
            {
                "index": int(chosen["index"].iloc[at]),
                "status": str(chosen["status"].iloc[at]),
                "due_s": float(chosen["due_s"].iloc[at]),
                "took_s": float(took[at]) if math.isfinite(took[at]) else None,
            }
            for at in order
        ]
        by_second = np.floor(chosen["due_s"]).astype(np.int64).value_counts()
        most = sorted(by_second.items(), key=lambda pair: (-int(pair[1]), pair[0]))[:WORST]
        seconds = [(int(second), int(count)) for second, count in most]
        return Number(name, value, how, _REQUESTS, rows, len(chosen), slowest, seconds)


def _says(result: PhaseResult, finding: Finding) -> bool:
    """Tell whether a finding is about this phase of its SLO."""
    where = "before the fault" if result.phase is PhaseName.BASELINE else "after recovery"
    return finding.verdict is result.verdict and f"{result.slo} {where}:" in finding.text
