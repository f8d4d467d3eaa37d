"""What one trial of the regression gate says: a number for each SLI, out of its request rows.

A request without its first token is as late as the client was patient, and is never dropped: the
numbers stay finite, and worse than those of any request that was answered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from faultload.judge.rows import Flags, Floats, Rows
from faultload.spec.scenario import Timeouts
from faultload.spec.slo import SLO, Condition, RequestsSource

EVENTS_MIN = 20
"""A trial with fewer requests of a kind has no number for it."""
_SHARE_MAX = 0.95
"""The largest quantile that a trial of a thousand requests pins down."""


class Unit(StrEnum):
    """What an SLI's number is."""

    SECONDS = "s"
    BAD_SHARE = "bad share"
    """0-1; compared as a difference."""
    GOOD_SHARE = "good share"
    """0-1; what is compared is how much is missing to 1."""


@dataclass(frozen=True)
class Sli:
    """What is compared.

    Attributes:
        name: for people: `p95 TTFT`.
        unit: of its numbers.
        effect_min: a smaller worsening never fails; of latencies relative, of shares a difference.
        tolerated: a pass proves that the worsening is less than this; likewise.
    """

    name: str
    unit: Unit
    effect_min: float = 0.03
    tolerated: float = 0.10

    @property
    def is_share(self) -> bool:
        """Whether it is compared as a difference of shares."""
        return self.unit is not Unit.SECONDS

    def worse_is_larger(self, value: float) -> float:
        """Return the number as the gate wants it; NaN stays NaN."""
        return 1 - value if self.unit is Unit.GOOD_SHARE else value


TTFT = Sli("p95 TTFT", Unit.SECONDS)
TPOT = Sli("p50 TPOT", Unit.SECONDS)
ERRORS = Sli("error rate", Unit.BAD_SHARE, effect_min=0.002, tolerated=0.01)
GOODPUT = Sli("goodput", Unit.GOOD_SHARE, effect_min=0.01, tolerated=0.05)
"""The share of requests that were served within every SLO that speaks of them."""
TOKENS = Sli("tokens delivered", Unit.GOOD_SHARE, effect_min=0.01, tolerated=0.05)
"""The share of the tokens asked for. Both sides are asked the same, so an engine that may end an
answer early does so on both; one that cuts answers short is quick, errs in nothing, and is worse.
"""


@dataclass(frozen=True)
class Measured:
    """What a trial said.

    Attributes:
        numbers: SLI → its number; NaN: too few requests to tell.
        requests: that were sent.
    """

    numbers: Mapping[str, float]
    requests: int


def slis_of(slos: Sequence[SLO]) -> list[Sli]:
    """Return what is compared in every trial: five SLIs, and the latency of each SLO that has one.

    A latency's quantile is the SLO's own target, but p95 at most.
    """
    latencies = [Sli(name, Unit.SECONDS) for name in _latencies(slos)]
    return [TTFT, TPOT, ERRORS, GOODPUT, TOKENS, *latencies]


def measure_trial(
    requests: pd.DataFrame, slos: Sequence[SLO], timeouts: Timeouts, window_s: tuple[float, float]
) -> Measured:
    """Return what a trial says.

    Args:
        requests: rows in the record's request schema.
        slos: the objectives that goodput means, and whose latencies are compared.
        timeouts: of the scenario: the latency of what was not answered.
        window_s: requests due from its first moment up to its second count.
    """
    due = requests["due_s"].to_numpy(dtype=np.float64)
    inside = (due >= window_s[0]) & (due < window_s[1])
    rows = Rows.of(requests[inside])
    sent = ~rows.unsent
    found = {
        TTFT.name: quantile_of(latency_of(rows, "ttft_s", timeouts)[sent], 0.95),
        TPOT.name: quantile_of(latency_of(rows, "tpot_s", timeouts)[sent], 0.5),
        ERRORS.name: _share((~rows.served)[sent]),
        GOODPUT.name: _share(_good(rows, slos, timeouts)[sent]),
        TOKENS.name: _delivered(rows, sent),
    }
    for name, (condition, tier, share) in _latencies(slos).items():
        own = sent & (rows.tier == tier) if tier is not None else sent
        found[name] = quantile_of(latency_of(rows, condition.column, timeouts)[own], share)
    return Measured(found, int(sent.sum()))


def _latencies(slos: Sequence[SLO]) -> Mapping[str, tuple[Condition, str | None, float]]:
    """Return name of the SLI → condition, tier and quantile of every SLO that is a latency."""
    found = {}
    for slo in slos:
        if isinstance(slo.source, RequestsSource) and slo.source.spec.condition.kind == "latency":
            share = min(slo.target, _SHARE_MAX)
            name = f"{slo.name} p{share * 100:g}"
            found[name] = (slo.source.spec.condition, slo.source.spec.tier, share)
    return found


def _good(rows: Rows, slos: Sequence[SLO], timeouts: Timeouts) -> Flags:
    good: Flags = rows.served.copy()
    for slo in slos:
        if not isinstance(slo.source, RequestsSource):
            continue
        condition, tier = slo.source.spec.condition, slo.source.spec.tier
        own = np.ones_like(good) if tier is None else np.asarray(rows.tier == tier, dtype=np.bool_)
        if condition.kind == "intact":
            good &= ~own | ((rows.missing == 0) & (rows.duplicated == 0))
        elif condition.kind == "latency":
            # A served answer of one token has no time between tokens, and breaks no promise of it.
            good &= ~own | ~(latency_of(rows, condition.column, timeouts) > condition.limit_s)
    return good


def latency_of(rows: Rows, column: str, timeouts: Timeouts) -> Floats:
    """Return each request's latency; the client's patience where the answer never came.

    NaN: there is none to speak of, such as the time between tokens of an answer of one.
    """
    if column == "ttft_s":
        return np.where(rows.began, rows.first - rows.due, timeouts.first_token_s)
    if column == "e2e_s":
        return np.where(rows.served, rows.last - rows.due, timeouts.total_s)
    if column == "gap_s_max":
        return np.where(rows.served, rows.gap, timeouts.gap_s)
    tokens = rows.received - 1
    spent = rows.last - rows.first
    own = np.divide(spent, tokens, out=np.full_like(spent, np.nan), where=tokens > 0)
    return np.where(rows.served, own, timeouts.gap_s)


def _delivered(rows: Rows, sent: Flags) -> float:
    """Return which share of the asked tokens came; what came of a broken answer came."""
    asked, got = (np.nan_to_num(column[sent]) for column in (rows.asked, rows.received))
    known = len(asked) >= EVENTS_MIN and asked.sum() > 0
    return float(np.minimum(got, asked).sum() / asked.sum()) if known else math.nan


def _share(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) >= EVENTS_MIN else math.nan


def quantile_of(values: Floats, share: float) -> float:
    """Return a quantile of the known values; NaN: too few."""
    known = values[~np.isnan(values)]
    if len(known) < EVENTS_MIN:
        return math.nan
    # No interpolation: between an answer and none there is nothing.
    return float(np.quantile(known, share, method="inverted_cdf"))
