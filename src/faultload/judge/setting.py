"""One setting of the batch limit: what its run's request rows say, each mean with an interval."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from faultload.judge.absolute import judge_absolute
from faultload.judge.cost import count_tokens
from faultload.judge.cost_model import Share
from faultload.judge.goodput import add_goodput
from faultload.judge.interval import (
    DEGREES_OF_FREEDOM,
    SIDE,
    Slots,
    interval,
    jeffreys,
    newey_west_error,
    slot_events,
)
from faultload.judge.model import Verdict
from faultload.judge.rows import Floats, Rows
from faultload.judge.slo import events_of
from faultload.judge.trial import EVENTS_MIN, latency_of, quantile_of
from faultload.record import Phase
from faultload.spec.scenario import Timeouts
from faultload.spec.slo import SLO, RequestsSource

SECONDS_MIN = 5
"""A window of fewer whole seconds has no interval: their spread is a guess."""
_EVENTS_MAX = 10_000_000
"""More than any window holds: for budgets next to none."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 90 % interval: each end holds with 95 % on its own."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Held:
    """One SLO at one setting.

    Attributes:
        slo, statement, budget: which, in words, and the share of events that may be bad.
        events, bad: counted.
        interval: of the bad ratio, 90 %; None: no events.
        verdict: pass where the whole interval is within the budget, fail where all is beyond it.
        events_min: so many events without a bad one would prove it; fewer never do.
    """

    slo: str
    statement: str
    budget: float
    events: int
    bad: int
    interval: tuple[float, float] | None
    verdict: Verdict
    events_min: int


@dataclass(frozen=True)
class Setting:
    """One setting of the batch limit, over the measured window of its run.

    Attributes:
        batch: most requests in an engine's batch (vLLM's `max_num_seqs`).
        run: whose record it comes from.
        problems: why its rows are not believed; empty: they are.
        window_s: [start, end] of the window, in seconds since the run's start.
        requests: due in it and sent.
        good_share, good_per_s: requests within every SLO, of all and a second; None: no SLO counts.
        tokens_per_s, good_tokens_per_s: output tokens of requests due in it; None: too few.
        normalized_s: mean of each request's latency over its output tokens (Orca, OSDI 2022; vLLM,
            SOSP 2023); None: too few.
        ttft_s, tpot_s: p50 and p95, unanswered requests as late as the client was patient; NaN:
            too few.
        slos: each that is counted on request rows.
        usd_per_1m_tokens, usd_per_1m_good_tokens: of the bill in the window, by output tokens.
            None: not known, `cost_problem` says why, or there were none.
        cost_problem: "": the bill is known.
        engines: what Prometheus has of the engines by name; None: no data.
    """

    batch: int
    run: str
    problems: Sequence[str]
    window_s: tuple[float, float]
    requests: int
    good_share: float | None
    good_per_s: float | None
    tokens_per_s: Estimate | None
    good_tokens_per_s: Estimate | None
    normalized_s: Estimate | None
    ttft_s: tuple[float, float]
    tpot_s: tuple[float, float]
    slos: Sequence[Held]
    usd_per_1m_tokens: Estimate | None
    usd_per_1m_good_tokens: Estimate | None
    cost_problem: str
    engines: Mapping[str, float | None]

    @property
    def verdict(self) -> Verdict:
        """Whether the SLOs are proven to hold here, proven not to, or neither."""
        if self.problems or not self.slos:
            return Verdict.INCONCLUSIVE
        found = [held.verdict for held in self.slos]
        if Verdict.FAIL in found:
            return Verdict.FAIL
        return Verdict.PASS if set(found) == {Verdict.PASS} else Verdict.INCONCLUSIVE

    @property
    def power(self) -> Estimate | None:
        """Kleinrock's power: throughput over latency; None: one of them is not known.

        The two errors are added, for they are not independent.
        """
        rate, wait = self.tokens_per_s, self.normalized_s
        if self.problems or rate is None or wait is None or wait.low <= 0:
            return None
        return Estimate(rate.value / wait.value, rate.low / wait.high, rate.high / wait.low)


@dataclass(frozen=True)
class Window:
    """What one run says of one setting, before anything is computed.

    Attributes:
        requests: rows in the record's request schema, of all models.
        model: the one that the curve is about.
        phase: what is measured.
        timeouts: of the scenario.
        slos: to be held.
        share: the bill of the phase; None: not known.
        cost_problem: why not.
        engines: as in `Setting`.
        problems: as in `Setting`.
    """

    requests: pd.DataFrame
    model: str
    phase: Phase
    timeouts: Timeouts
    slos: Sequence[SLO]
    share: Share | None
    cost_problem: str
    engines: Mapping[str, float | None]
    problems: Sequence[str]


def measure_setting(batch: int, run: str, window: Window) -> Setting:
    """Return the point of one setting.

    The bill is the whole platform's, so its tokens are those of all models; the rest is of one.
    """
    phase = window.phase
    span = (phase.start_s, phase.end_s)
    due = window.requests["due_s"].to_numpy(dtype=np.float64)
    asked = (window.requests["model"] == window.model).to_numpy(dtype=np.bool_)
    own = window.requests[asked & (due >= span[0]) & (due < span[1])]
    rows = Rows.of(own)
    sent = ~rows.unsent
    tokens = count_tokens(own, window.slos, rows)
    rates = [
        _rate(tokens.due_s, amount, span)
        for amount in (tokens.output, tokens.output - tokens.wasted)
    ]
    late = latency_of(rows, "e2e_s", window.timeouts) / np.maximum(rows.asked, 1)
    goodput = add_goodput(rows, window.slos, [phase], None)
    good = goodput[0] if goodput and goodput[0].requests else None
    usd = _usd(window, span)
    return Setting(
        batch=batch,
        run=run,
        problems=window.problems,
        window_s=span,
        requests=int(sent.sum()),
        good_share=good.good / good.requests if good else None,
        good_per_s=good.requests_per_s if good else None,
        tokens_per_s=rates[0],
        good_tokens_per_s=rates[1],
        normalized_s=_mean(rows.due[sent], late[sent], span),
        ttft_s=_quantiles(latency_of(rows, "ttft_s", window.timeouts)[sent]),
        tpot_s=_quantiles(latency_of(rows, "tpot_s", window.timeouts)[sent]),
        slos=[_held(rows, slo, span) for slo in window.slos if _is_counted(slo)],
        usd_per_1m_tokens=usd[0],
        usd_per_1m_good_tokens=usd[1],
        cost_problem=window.cost_problem,
        engines=window.engines,
    )


def events_needed(budget: float) -> int:
    """Return how many events without a bad one prove a bad ratio within the budget."""
    counts = range(1, _EVENTS_MAX)
    place = bisect_left(counts, True, key=lambda n: jeffreys(0.0, float(n))[1] <= budget)
    return place + 1


def _held(rows: Rows, slo: SLO, span: tuple[float, float]) -> Held:
    assert isinstance(slo.source, RequestsSource)  # noqa: S101  # `_is_counted` saw to it
    events = events_of(rows, slo.source, None)
    slots = slot_events(events.at_s, events.is_bad, *span)
    bounds = interval(slots)
    return Held(
        slo=slo.name,
        statement=slo.statement,
        budget=slo.budget,
        events=int(slots.events.sum()),
        bad=int(slots.bad.sum()),
        interval=bounds,
        verdict=judge_absolute(bounds, slo.budget) if bounds else Verdict.INCONCLUSIVE,
        events_min=events_needed(slo.budget),
    )


def _usd(window: Window, span: tuple[float, float]) -> tuple[Estimate | None, Estimate | None]:
    """Return the price of a million output tokens and of a million good ones, of all models."""
    share = window.share
    if share is None:
        return None, None
    tokens = count_tokens(window.requests, window.slos)
    good = share.usd_per_1k_good_tokens
    every = share.usd / share.output_tokens * 1e6 if share.output_tokens else None
    return (
        _price(every, _rate(tokens.due_s, tokens.output, span)),
        _price(
            None if good is None else good * 1e3,
            _rate(tokens.due_s, tokens.output - tokens.wasted, span),
        ),
    )


def _price(usd: float | None, rate: Estimate | None) -> Estimate | None:
    """Return a price whose bill is known and whose tokens a second are an estimate."""
    if usd is None or rate is None or rate.low <= 0:
        return None
    return Estimate(usd, usd * rate.value / rate.high, usd * rate.value / rate.low)


def _rate(at_s: Floats, amounts: Floats, span: tuple[float, float]) -> Estimate | None:
    """Return amounts a second within a window; None: too short, or too few requests."""
    found = _by_second(at_s, amounts, span)
    return _estimate(span[0], found[0], found[2]) if found else None


def _mean(at_s: Floats, values: Floats, span: tuple[float, float]) -> Estimate | None:
    """Return the mean of values within a window; None: too short, or too few."""
    found = _by_second(at_s, values, span)
    return _estimate(span[0], found[0], found[1]) if found else None


def _by_second(
    at_s: Floats, values: Floats, span: tuple[float, float]
) -> tuple[Floats, Floats, Floats] | None:
    """Return sums, counts and lengths of the window's seconds; the last may be shorter."""
    edges = np.append(np.arange(span[0], span[1] - 1e-6, 1.0), span[1])
    inside = (at_s >= span[0]) & (at_s < span[1])
    if len(edges) - 1 < SECONDS_MIN or int(inside.sum()) < EVENTS_MIN:
        return None
    second = np.searchsorted(edges, at_s[inside], side="right") - 1
    sums = np.bincount(second, values[inside], len(edges) - 1).astype(np.float64)
    counts = np.bincount(second, minlength=len(edges) - 1).astype(np.float64)
    return sums, counts, np.diff(edges)


def _estimate(start_s: float, sums: Floats, weights: Floats) -> Estimate:
    """Return the ratio of the sums with a Newey-West interval: seconds are not independent."""
    slots = Slots(start_s, sums, weights)
    freedom = max(2, min(DEGREES_OF_FREEDOM, len(sums) - 1))
    reach = float(special.stdtrit(freedom, SIDE)) * newey_west_error(slots)
    return Estimate(slots.ratio, max(0.0, slots.ratio - reach), slots.ratio + reach)


def _quantiles(values: Floats) -> tuple[float, float]:
    return quantile_of(values, 0.5), quantile_of(values, 0.95)


def _is_counted(slo: SLO) -> bool:
    return isinstance(slo.source, RequestsSource)
