"""What a judgement shows beside its verdict: none of it changes what the verdict is."""

from __future__ import annotations

from dataclasses import dataclass

from faultload.record import PhaseName


@dataclass(frozen=True)
class Stage:
    """One part of the way from harm to health.

    Attributes:
        name: `detect`, `reroute`, `capacity` or `warm`.
        reached_s: harm → the end of this part; None: not known, and `text` says why.
        took_s: from the end of the parts before it; 0 where it was over before they were.
        error_s: how far off `reached_s` may be; None where that is.
        text: what was seen.
        evidence: where.
    """

    name: str
    reached_s: float | None
    took_s: float | None
    error_s: float | None
    text: str
    evidence: str


@dataclass(frozen=True)
class Degradation:
    """A tail that moved although its SLO held.

    Attributes:
        slo: whose latency.
        share: 0.95 for p95.
        before_s: the quantile in the baseline.
        before_s_max: its upper 95 % bound.
        after_s: the quantile from the harm to the run's end; None: infinite.
        after_s_min: its lower 95 % bound.
    """

    slo: str
    share: float
    before_s: float
    before_s_max: float
    after_s: float | None
    after_s_min: float


@dataclass(frozen=True)
class Goodput:
    """Requests of one phase that met every SLO they are counted in.

    Attributes:
        phase: in which they were due.
        requests: counted in any SLO.
        good: of those, met all.
        requests_per_s: good ones a second.
        tokens_per_s: output tokens of good ones a second.
    """

    phase: PhaseName
    requests: int
    good: int
    requests_per_s: float
    tokens_per_s: float


@dataclass(frozen=True)
class Mark:
    """One row of the scorecard.

    Attributes:
        name: what is measured, unit last.
        title: in words.
        limit: the target, as people write it.
        measured: None: not known.
        met: None: not known.
        text: where the number comes from, or why there is none.
        evidence: record file.
    """

    name: str
    title: str
    limit: str
    measured: float | None
    met: bool | None
    text: str
    evidence: str
