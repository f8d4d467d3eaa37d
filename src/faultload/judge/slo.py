"""SLIs: which requests count, which of those are bad, and what a phase says about an objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from faultload.judge.absolute import bounds_between, judge_absolute
from faultload.judge.interval import DESIGN_EFFECT, interval, jeffreys, slot_events
from faultload.judge.model import PhaseResult, Verdict
from faultload.judge.rows import Flags, Floats, Rows
from faultload.record import Phase, PhaseName
from faultload.spec.slo import SLO, Condition, RequestsSource

SILENCE_S_MIN = 10.0
"""A request still open at the end is taken for lost, not slow, after this silence at the least."""


@dataclass(frozen=True)
class Events:
    """Valid events of one SLO.

    Attributes:
        at_s: when each was due; the moment of harm for requests that harm found open.
        is_bad: which of them were bad.
        value_s: the SLI's latency; infinite where not served, NaN where the SLI is no latency.
    """

    at_s: Floats
    is_bad: Flags
    value_s: Floats

    @property
    def events(self) -> int:
        """How many there are."""
        return len(self.at_s)

    @property
    def bad(self) -> int:
        """How many were bad."""
        return int(self.is_bad.sum())


def count_events(requests: pd.DataFrame, slo: SLO, harm_s: float | None = None) -> Events:
    """Return the events of an SLO in rows of the record's request schema.

    Args:
        requests: the rows.
        slo: what counts and what is good. An SLO read from Prometheus has no events here.
        harm_s: the first act of harm. A request it finds open, not yet bad by age, is the fault's
            to answer for: its event is moved from when it was due to the moment of harm.
    """
    if not isinstance(slo.source, RequestsSource):
        return Events(np.empty(0), np.empty(0, dtype=np.bool_), np.empty(0))
    return events_of(Rows.of(requests), slo.source, harm_s)


def events_of(rows: Rows, source: RequestsSource, harm_s: float | None) -> Events:
    """Do the work of `count_events` on columns that were taken out once."""
    condition = source.spec.condition
    valid, good, value = mark_rows(rows, source)
    at = rows.due if harm_s is None else _answered_for(rows, condition, harm_s)
    shown = np.broadcast_to(np.nan, len(value))  # one number, however many rows
    if condition.kind == "latency":
        shown = np.where(rows.served, value, np.inf)
    if valid.all():
        return Events(at, ~good, shown)
    return Events(at[valid], ~good[valid], shown[valid])


def mark_rows(rows: Rows, source: RequestsSource) -> tuple[Flags, Flags, Floats]:
    """Return of each row whether it counts, whether it is good, and the SLI's value."""
    condition = source.spec.condition
    value = _value_at(rows, condition, rows.end, patience_of(rows))
    over = value > condition.limit_s
    good, valid = rows.served & ~over, ~rows.unsent
    if condition.kind == "intact":
        good, valid = rows.served & (rows.missing == 0) & (rows.duplicated == 0), rows.began
    elif condition.kind == "latency":
        # Served with under two tokens: there is no time between tokens to speak of.
        valid = valid & ~(rows.served & np.isnan(value))
    # What is still open and not yet bad is censored: it might have ended well.
    valid = valid & (~rows.unfinished | over)
    if source.spec.tier is not None:
        valid = valid & (rows.tier == source.spec.tier)
    return valid, good, value


def _answered_for(rows: Rows, condition: Condition, harm_s: float) -> Floats:
    """Return when each event counts: at the harm for what it found open and not yet bad."""
    found_open = np.flatnonzero((rows.due < harm_s) & ~(rows.end <= harm_s))
    some = rows.at(found_open)
    value = _value_at(some, condition, np.full_like(some.end, harm_s), patience_of(rows))
    at = rows.due.copy()
    at[found_open[~(value > condition.limit_s)]] = harm_s
    return at


def _value_at(rows: Rows, condition: Condition, now: Floats, patience_s: float) -> Floats:
    """Return each request's SLI value as far as it was known at `now`: a lower bound until it ends.

    For conditions without a limit it is 1 where an unanswered request has been silent for longer
    than `patience_s`, else 0; `over` is then > 0.
    """
    began = rows.first <= now
    if condition.kind != "latency":
        silence = now - np.where(began, np.minimum(rows.last, now), rows.due)
        return (~rows.served & (silence > patience_s)).astype(np.float64)
    if condition.column == "ttft_s":
        return np.where(began, rows.first - rows.due, now - rows.due)
    ended = rows.end <= now
    finished = ended & rows.served
    if condition.column == "e2e_s":
        return np.where(finished, rows.last - rows.due, now - rows.due)
    if condition.column == "gap_s_max":
        since = np.where(began, np.minimum(rows.last, now), np.nan)
        silence = np.fmax(np.where(ended, rows.gap, np.nan), now - since)
        return np.where(finished, rows.gap, silence)
    # tpot_s: an open stream can still get what was asked, hence the largest divisor.
    tokens = np.where(finished, rows.received, rows.asked)
    tokens -= 1
    # In place: of a million rows each column is 8 MB.
    value: Floats = np.where(finished, rows.last, now)
    value -= np.where(began, rows.first, np.nan)
    np.divide(value, tokens, out=value, where=tokens > 0)
    value[~(tokens > 0)] = np.nan
    return value


def patience_of(rows: Rows) -> float:
    """Return the longest silence after which a request was answered all the same."""
    return max(SILENCE_S_MIN, rows.silence_s_max)


def judge_ratio(ratio: float, low: float, budget: float, events: int) -> Verdict:
    """Hold one bad ratio against its budget, for a single run.

    The point decides a pass of *this run*; a fail needs the one-sided 95 % bound above the budget.
    So few events that one bad one would break the budget cannot pass.
    """
    if low > budget:
        return Verdict.FAIL
    if ratio <= budget and events * budget >= 1 - 1e-9:
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def judge_phase(
    slo: SLO, events: Events, phase: Phase, start_s: float, history: Sequence[float] = ()
) -> PhaseResult:
    """Judge one SLO from `start_s` to the end of a phase; warm-up and fault are only counted.

    Args:
        slo: what is judged.
        events: of that SLO.
        phase: of the run.
        start_s: from when on.
        history: natural logarithms of the bad ratios of earlier, accepted runs. With enough of
            them the verdict is on runs such as this one, otherwise on this run only.
    """
    slots = slot_events(events.at_s, events.is_bad, start_s, phase.end_s)
    count, bad = int(slots.events.sum()), int(slots.bad.sum())
    bounds = interval(slots)
    verdict: Verdict | None = None
    is_judged = phase.name in (PhaseName.BASELINE, PhaseName.RECOVERY)
    between = bounds_between([slots], history) if is_judged else None
    if between is not None:
        bounds = between
        verdict = _in_phase(phase.name, judge_absolute(between, slo.budget))
    elif is_judged:
        low = bounds[0] if bounds else 0.0
        ratio = slots.ratio if count else 1.0
        verdict = _in_phase(phase.name, judge_ratio(ratio, low, slo.budget, count))
    inside = (events.at_s >= start_s) & (events.at_s < phase.end_s)
    p50, p95, p99 = _quantiles(events.value_s[inside])
    return PhaseResult(
        slo=slo.name,
        statement=slo.statement,
        phase=phase.name,
        events=count,
        bad=bad,
        bad_ratio=bad / count if count else None,
        budget=slo.budget,
        interval=bounds,
        value_s_p50=p50,
        value_s_p95=p95,
        value_s_p99=p99,
        verdict=verdict,
        between_runs=between is not None,
    )


def bad_of(
    phase: Phase, counted: tuple[float, float] | None, scrape_interval_s: float
) -> tuple[float, float] | None:
    """Return (bad, total) events of a phase out of good and total ones; None: no data.

    Counters that are read a scrape apart may have so many good events too many. More good events
    than that, or fewer than none, are of something else than the total counts: no data.
    """
    good, total = counted or (0.0, 0.0)
    apart = scrape_interval_s / max(phase.end_s - phase.start_s, scrape_interval_s)
    if not 0 <= good <= total * (1 + apart) or not 0 < total < math.inf:
        return None
    return max(0.0, total - good), total


def judge_counted(
    slo: SLO, phase: Phase, counted: tuple[float, float] | None, scrape_interval_s: float
) -> PhaseResult:
    """Judge one phase of an SLO whose good and total events were counted by Prometheus.

    Over budget during recovery is inconclusive: one pair of counts cannot part the time before
    the recovery from the time after it.
    """
    bad, total = bad_of(phase, counted, scrape_interval_s) or (0.0, 0.0)
    bounds = jeffreys(bad, total, DESIGN_EFFECT) if total > 0 else None
    verdict: Verdict | None = None
    if phase.name in (PhaseName.BASELINE, PhaseName.RECOVERY):
        verdict = Verdict.INCONCLUSIVE
        if bounds:
            ratio_verdict = judge_ratio(bad / total, bounds[0], slo.budget, int(total))
            verdict = _in_phase(phase.name, ratio_verdict)
        if verdict is Verdict.FAIL and phase.name is PhaseName.RECOVERY:
            verdict = Verdict.INCONCLUSIVE
    ratio = bad / total if total > 0 else None
    return PhaseResult(
        slo=slo.name,
        statement=slo.statement,
        phase=phase.name,
        events=round(total),
        bad=round(bad),
        bad_ratio=ratio,
        budget=slo.budget,
        interval=bounds,
        value_s_p50=None,
        value_s_p95=None,
        value_s_p99=None,
        verdict=verdict,
    )


def _in_phase(phase: PhaseName, verdict: Verdict) -> Verdict:
    """Over budget before the fault, there was no steady state that the fault could have broken."""
    broken = phase is PhaseName.BASELINE and verdict is Verdict.FAIL
    return Verdict.INVALID if broken else verdict


def _quantiles(values: Floats) -> list[float | None]:
    shares = (0.5, 0.95, 0.99)
    if not len(values) or math.isnan(values[0]):
        return [None for _ in shares]
    # No interpolation: between a number and infinity there is nothing.
    found = np.quantile(values, shares, method="inverted_cdf")
    return [float(value) if math.isfinite(value) else None for value in found]
