"""The scorecard that closes every run: the platform's own targets, met, missed or not known.

It changes no verdict: an experiment is judged by its SLOs and claims, a platform also by these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from faultload.judge.model import Evidence
from faultload.judge.rows import Flags, Floats, Rows
from faultload.judge.shown import Mark
from faultload.record import InjectionStep, Phase, PhaseName

_ROWS, _JOURNAL, _SERIES = "requests.parquet", "injections.jsonl", "series.parquet"
PLANNED = frozenset(
    "roll_out scale_to scale_deployment scale_statefulset evict_replica drain_node terminate_pods"
    " delete_replica".split()
)
"""Faults that are changes which operators make on purpose: nobody may notice those."""
ROLLED_BACK = frozenset({"bad_release"})
REQUESTS_MIN = 100
"""A p95 of fewer is a guess."""


@dataclass(frozen=True)
class _Case:
    evidence: Evidence
    rows: Rows
    harm_s: float | None
    baseline: Phase | None

    @property
    def steady(self) -> Flags:
        """Rows due in the baseline, but for those that the harm found open and that then broke."""
        rows = self.rows
        if self.baseline is None:
            return np.zeros_like(rows.served)
        harm_s = math.inf if self.harm_s is None else self.harm_s
        steady: Flags = (rows.due >= self.baseline.start_s) & (rows.due < self.baseline.end_s)
        steady &= (rows.due < harm_s) & ((rows.end <= harm_s) | rows.served)
        return steady & ~rows.unsent


def make_scorecard(evidence: Evidence, rows: Rows, harm_s: float | None) -> list[Mark]:
    """Return one mark for each target, in the order in which they are stated."""
    baseline = next((p for p in evidence.phases if p.name is PhaseName.BASELINE), None)
    case = _Case(evidence, rows, harm_s, baseline)
    return [make(case) for make in MARKS]


def _mark(  # noqa: PLR0913  # a row of a table
    name: str,
    title: str,
    limit: str,
    measured: float | None,
    text: str,
    evidence: str,
    *,
    met: Callable[[float], bool],
) -> Mark:
    known = measured is not None and math.isfinite(measured)
    verdict = met(measured) if known and measured is not None else None
    return Mark(name, title, limit, measured if known else None, verdict, text, evidence)


def _latency(case: _Case, name: str, title: str, limit_s: float, tier: str | None) -> Mark:
    rows = case.rows
    chosen = case.steady & ~rows.unfinished
    if tier is not None:
        chosen = chosen & (rows.tier == tier)
    ttft = np.where(rows.served, rows.first - rows.due, np.inf)[chosen]
    limit = f"< {limit_s * 1000:g} ms"
    if len(ttft) < REQUESTS_MIN:
        text = f"{len(ttft)} requests in the baseline; {REQUESTS_MIN} are needed"
        return Mark(name, title, limit, None, None, text, _ROWS)
    p95 = float(np.quantile(ttft, 0.95, method="inverted_cdf"))
    if math.isinf(p95):
        text = f"more than 5 % of {len(ttft)} requests in the baseline were not served"
        return Mark(name, title, limit, None, False, text, _ROWS)
    text = f"{len(ttft)} requests in the baseline"
    return _mark(name, title, limit, p95, text, _ROWS, met=lambda value: value < limit_s)


def _ttft(case: _Case) -> Mark:
    return _latency(case, "ttft_s_p95", "Time to first token, p95", 0.5, None)


def _ttft_fast(case: _Case) -> Mark:
    title = "Time to first token of the fast tier, p95"
    return _latency(case, "fast_ttft_s_p95", title, 0.1, "fast")


def _tpot(case: _Case) -> Mark:
    rows = case.rows
    chosen = case.steady & rows.served & (rows.received > 1)
    spent: Floats = (rows.last - rows.first)[chosen] / (rows.received[chosen] - 1)
    name, title, limit = "tpot_s_p50", "Time per output token, p50", "< 50 ms"
    if len(spent) < REQUESTS_MIN:
        text = f"{len(spent)} answers in the baseline; {REQUESTS_MIN} are needed"
        return Mark(name, title, limit, None, None, text, _ROWS)
    p50 = float(np.quantile(spent, 0.5, method="inverted_cdf"))
    text = f"{len(spent)} answers in the baseline"
    return _mark(name, title, limit, p50, text, _ROWS, met=lambda value: value < 0.05)


def _throughput(case: _Case) -> Mark:
    name, title, limit = "throughput_rps", "Requests served a second", "> 10/s"
    if case.baseline is None or not case.steady.any():
        return Mark(name, title, limit, None, None, "there was no baseline", _ROWS)
    length_s = min(case.baseline.end_s, case.harm_s or math.inf) - case.baseline.start_s
    asked = float(case.steady.sum()) / length_s
    served = float((case.steady & case.rows.served).sum()) / length_s
    text = f"{asked:.1f}/s were asked for in the baseline"
    if served <= 10 and asked <= 10:
        # A load that asks for little shows nothing about how much there could be.
        return Mark(name, title, limit, served, None, f"only {text}", _ROWS)
    return _mark(name, title, limit, served, text, _ROWS, met=lambda value: value > 10)


def _rollback(case: _Case) -> Mark:
    name, title, limit = "rollback_s", "A release rolled back", "< 60 s"
    at: dict[tuple[str, InjectionStep], float] = {}
    for entry in case.evidence.injections:
        if entry.fault in ROLLED_BACK:
            at.setdefault((entry.injection_id, entry.step), entry.time_unix_s)
    begun = [key for key in at if key[1] is InjectionStep.REVERTING]
    if not begun:
        return Mark(name, title, limit, None, None, "no release was rolled back", _JOURNAL)
    ends = [at.get((key[0], InjectionStep.VERIFIED_REVERTED)) for key in begun]
    took = [end - at[key] for key, end in zip(begun, ends, strict=True) if end is not None]
    if len(took) < len(begun):
        return Mark(name, title, limit, None, False, "was not seen to end", _JOURNAL)
    text = "from the order until the old release was proven to serve"
    return _mark(name, title, limit, max(took), text, _JOURNAL, met=lambda value: value < 60)


def _change(case: _Case, name: str, title: str, hit: Flags, what: str) -> Mark:
    """Count what no planned change may cost; of other faults this says nothing."""
    faults = sorted({entry.fault for entry in case.evidence.injections} & PLANNED)
    if not faults or case.harm_s is None:
        text = "nothing was deployed, scaled down or drained"
        return Mark(name, title, "0", None, None, text, _JOURNAL)
    count = float((hit & (case.rows.end >= case.harm_s)).sum())
    text = f"{what} since {', '.join(faults)} began"
    return _mark(name, title, "0", count, text, _ROWS, met=lambda value: value == 0)


def _refused(case: _Case) -> Mark:
    statuses = case.evidence.requests["http_status"].to_numpy(dtype=np.float64)
    title = "Refused (502, 503) by a deploy, scale-down or drain"
    return _change(case, "refused", title, np.isin(statuses, (502, 503)), "refused")


def _cut(case: _Case) -> Mark:
    title = "Accepted and not finished at a deploy, scale-down or drain"
    return _change(case, "unfinished_streams", title, case.rows.broke, "began and broke")


def _read(  # noqa: PLR0913  # a row of a table
    name: str, title: str, limit: str, why: str, evidence: str, met: Callable[[float], bool]
) -> Callable[[_Case], Mark]:
    """Return what takes a number that was worked out elsewhere, or says why there is none."""

    def make(case: _Case) -> Mark:
        found = case.evidence.readings.get(name)
        text = why if found is None else "from the record"
        return _mark(name, title, limit, found, text, evidence, met=met)

    return make


MARKS: Sequence[Callable[[_Case], Mark]] = (
    _ttft,
    _ttft_fast,
    _tpot,
    _throughput,
    _rollback,
    _read(
        "cost_usd_per_1m_tokens",
        "Cost of a million tokens",
        "< 0.60 USD, alert above 1",
        "no price of this run's nodes is known",
        "series.parquet",
        lambda value: value < 0.60,
    ),
    _refused,
    _cut,
    _read(
        "awq_memory_saved",
        "GPU memory that AWQ saves",
        ">= 40 %",
        "takes two engines, with and without it; this run had one kind",
        _SERIES,
        lambda value: value >= 0.40,
    ),
    _read(
        "spot_saved",
        "What spot nodes save",
        "about 60 %: 50 to 90 %",
        "spot or on-demand prices of this run's nodes are not known, or typical values only",
        "series.parquet",
        lambda value: 0.5 <= value <= 0.9,
    ),
    _read(
        "cache_hit_share",
        "Answers from the cache",
        "> 10 %",
        "no series of a cache was recorded",
        _SERIES,
        lambda value: value > 0.10,
    ),
    _read(
        "cache_lookup_s",
        "Look-up in the cache",
        "< 5 ms",
        "no series of a cache was recorded",
        _SERIES,
        lambda value: value < 0.005,
    ),
)
"""In the order in which the targets are stated."""
