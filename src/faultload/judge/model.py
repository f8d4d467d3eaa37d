"""What the judge is given and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import pandas as pd

from faultload.judge.cost_model import Cost
from faultload.judge.rows import Rows
from faultload.judge.shown import Degradation, Goodput, Mark, Stage
from faultload.record import InjectionEntry, LoadSummary, Outcome, Phase, PhaseName
from faultload.record.fleet import Fleet
from faultload.spec.experiment import Expects
from faultload.spec.prices import PriceBook
from faultload.spec.slo import SLO


class Verdict(StrEnum):
    """What one run says, for a person and for an exit code."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    """The evidence is sound and does not decide."""
    INVALID = "invalid"
    """We cannot tell what happened: nothing the run says about the platform may be believed."""


# Worst first: docs/architecture.md, "Precedence".
_SEVERITY = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def by_severity(verdict: Verdict) -> int:
    """Return a verdict's place, worst first."""
    return _SEVERITY.index(verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict; of none at all, `inconclusive`: no evidence is never a pass."""
    found = set(verdicts)
    return next((v for v in _SEVERITY if v in found), Verdict.INCONCLUSIVE)


@dataclass(frozen=True)
class Evidence:
    """One run, as arrays.

    Attributes:
        requests: rows in the record's request schema, ordered by `due_s`.
        phases: in order; a run that stopped early lacks the later ones.
        injections: the injection journal.
        t0_unix_s: turns the journal's wall times into seconds since the start.
        slos: what to judge against.
        expects: what the experiment claims.
        gaps: telemetry the experiment is expected to take away, by series name.
        outcome: how the run ended.
        reason: why it ended early, "" if it did not.
        aborted_by_person: True when `outcome` is interrupted or a person asked for the abort.
        steady_state_met: what the probes said before the fault; None: never asked.
        load: what the load client says of itself; None: no load was measured.
        clock_drift_s: wall minus monotonic clock over the run.
        coverage: by series name, the share of expected samples that came, 0-1, outside
            the series' declared gaps. A series that never came is 0, not absent.
        counted: good and total events by SLO name and phase, for SLOs whose source is Prometheus.
            None: no data there.
        replicas: by Deployment or tier, how many it was to have and how many served, over time.
            Empty: nobody said.
        scrape_interval_s: how often `replicas` and other series were to be sampled.
        alerts: rows in the record's alert schema; None: no rule was replayed.
        fleet: the machines that were paid for; None: nobody looked.
        prices: for machines whose price the platform does not say; None: the record has none.
        time_scale: of the platform's starting and waiting; 1 on a real one.
        history: by SLO, natural logarithms of the bad ratios of earlier, accepted runs. Empty:
            a pass means this run only.
        usable: by router, how many replicas it would send requests to, over time. Empty: unknown.
        readings: numbers of the scorecard that others worked out, by the mark's name.
    """

    requests: pd.DataFrame
    phases: Sequence[Phase]
    injections: Sequence[InjectionEntry]
    t0_unix_s: float
    slos: Sequence[SLO]
    expects: Expects
    gaps: Sequence[str]
    outcome: Outcome
    reason: str
    aborted_by_person: bool
    steady_state_met: bool | None
    load: LoadSummary | None
    clock_drift_s: float
    coverage: Mapping[str, float]
    counted: Mapping[tuple[str, PhaseName], tuple[float, float] | None] = field(
        default_factory=dict
    )
    replicas: Mapping[str, ReplicaCounts] = field(default_factory=dict)
    scrape_interval_s: float = 1.0
    alerts: pd.DataFrame | None = None
    fleet: Fleet | None = None
    prices: PriceBook | None = None
    time_scale: float = 1.0
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    usable: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    readings: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def rows(self) -> Rows:
        """The columns of `requests` that are judged, taken out once."""
        return Rows.of(self.requests)


@dataclass(frozen=True)
class ReplicaCounts:
    """What was seen of one Deployment's size: pairs of seconds since the start and replicas.

    Attributes:
        wanted: how many it was to have.
        ready: how many served.
    """

    wanted: Sequence[tuple[float, float]]
    ready: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Finding:
    """One reason, in words a person can act on.

    Attributes:
        verdict: what this reason alone would say.
        subject: what it is about: an SLO, a phase, `load`, `fault`, …
        text: what was expected, what was found.
        evidence: where the numbers come from, e.g. `requests.parquet`.
    """

    verdict: Verdict
    subject: str
    text: str
    evidence: str


@dataclass(frozen=True)
class PhaseResult:
    """One SLO over one phase.

    Attributes:
        slo: its name.
        statement: the SLO in words.
        phase: which part of the run; of `recovery`, what lies after the SLO was met again.
        events: valid events; 0 means no data.
        bad: of those, not good.
        bad_ratio: bad / events; None: no events.
        budget: share that may be bad, 0-1.
        interval: 90 % interval of the bad ratio, widened for autocorrelation; None: no events.
        value_s_p50, value_s_p95, value_s_p99: quantiles of the SLI's latency over all its
            valid requests, a request that was not served counting as infinite. None: infinite,
            or the SLI is not a latency, or no events.
        verdict: None where the phase is shown but not judged (warm-up, fault).
        between_runs: interval and verdict are those of runs such as this one; otherwise of this
            run only.
    """

    slo: str
    statement: str
    phase: PhaseName
    events: int
    bad: int
    bad_ratio: float | None
    budget: float
    interval: tuple[float, float] | None
    value_s_p50: float | None
    value_s_p95: float | None
    value_s_p99: float | None
    verdict: Verdict | None
    between_runs: bool = False


@dataclass(frozen=True)
class Recovery:
    """When one SLO was met again, counted from the first act of harm.

    Attributes:
        slo: its name.
        impact_s: harm → first effect on users; None: no effect was seen.
        detect_s: harm → our change detector's alarm; None: no alarm.
        recovery_s: harm → the SLO is met and stays met; 0 where users saw no effect;
            None: not within the window.
        censored_at_s: how long we looked in vain; None when `recovery_s` is known.
        error_s: half-width that covers the estimator's error in 95 % of cases.
    """

    slo: str
    impact_s: float | None
    detect_s: float | None
    recovery_s: float | None
    censored_at_s: float | None
    error_s: float


@dataclass(frozen=True)
class BudgetSpent:
    """What the fault cost one SLO's error budget.

    Attributes:
        slo: its name.
        bad_minutes: full-outage-equivalent minutes from the first harm to the run's end.
        budget_minutes: the whole period's budget.
        budget_percent: their ratio in percent.
        burn_rate_max: largest burn rate over any 10 s.
    """

    slo: str
    bad_minutes: float
    budget_minutes: float
    budget_percent: float
    burn_rate_max: float | None


@dataclass(frozen=True)
class Expectation:
    """One claim of the experiment, held against what was measured.

    Attributes:
        name: key in `expects`.
        limit: the number claimed.
        found: the number measured; None: could not be measured.
        verdict: pass, fail or inconclusive.
        text: in words.
    """

    name: str
    limit: float
    found: float | None
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class TokenLedger:
    """Tokens of every request due in the run.

    Attributes:
        asked: what the workload asked for.
        delivered: in streams that finished.
        lost: asked and never delivered, in streams that began and broke.
        wasted: delivered in streams that then broke: paid for and of no use.
        duplicated: delivered twice, where the engine numbers its tokens.
        refused: asked by requests that got no token at all.
        stalled: of those delivered, in streams that fell silent for more than a second.
        unneeded: asked, in streams that finished with fewer.
        open: asked by requests still open when the load was stopped.
        unsent: asked by requests that the client never sent.
    """

    asked: int
    delivered: int
    lost: int
    wasted: int
    duplicated: int
    refused: int
    stalled: int = 0
    unneeded: int = 0
    open: int = 0
    unsent: int = 0


@dataclass(frozen=True)
class AlertOutcome:
    """One shipped alert, replayed on what the run recorded.

    Attributes:
        alert: its name; "" where none could be replayed, and `why` says why.
        severity: `page` or `ticket`.
        slo: whose budget it watches.
        state: `fired`, `quiet` or `not_replayed`.
        fires_s: when, in seconds since the start; None: it did not.
        resolves_s: when it ended; None: it did not fire, or still did at the run's end.
        fires_after_impact_s: since users first felt the fault; None: it did not fire, or they
            did not feel it.
        outage_to_fire_s: how long this outage would have to last until it fires; None: it would
            never, or was not replayed.
        total_outage_to_fire_s: the same of a total outage; None: never.
        why: it was not replayed; "" where it was.
    """

    alert: str
    severity: str
    slo: str
    state: str
    fires_s: float | None
    resolves_s: float | None
    fires_after_impact_s: float | None
    outage_to_fire_s: float | None
    total_outage_to_fire_s: float | None
    why: str


@dataclass(frozen=True)
class Judgement:
    """The verdict and everything it rests on.

    Attributes:
        verdict: the worst of the findings.
        reason: the first thing a person should read, one sentence.
        findings: worst first.
        phases: every SLO over every phase.
        recoveries: one for each SLO counted from request rows, empty when no fault was injected.
        budgets: one for each SLO whose events are known, empty when no fault was injected.
        expectations: the experiment's claims.
        streams_lost: streams that began and did not finish, from the first harm on.
        requests: rows judged.
        tokens: the ledger.
        fault_window_s: first harm and proven end, seconds since the start; None: no harm done.
        alerts: what the shipped alert rules made of the run; empty: they were not replayed.
        cost: what the machines cost; its `problem` says why where that is not known. None: nobody
            asked.
        stages: the way from harm to health in parts; empty: no harm was done.
        degraded: of a pass, the tails that moved although the budgets held.
        goodput: by phase.
        scorecard: the platform's targets.
    """

    verdict: Verdict
    reason: str
    findings: Sequence[Finding]
    phases: Sequence[PhaseResult]
    recoveries: Sequence[Recovery]
    budgets: Sequence[BudgetSpent]
    expectations: Sequence[Expectation]
    streams_lost: int
    requests: int
    tokens: TokenLedger
    fault_window_s: tuple[float, float] | None
    alerts: Sequence[AlertOutcome] = ()
    cost: Cost | None = None
    stages: Sequence[Stage] = ()
    degraded: Sequence[Degradation] = ()
    goodput: Sequence[Goodput] = ()
    scorecard: Sequence[Mark] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data; key names are the contract of `verdict.json`."""
        return asdict(self)
