"""From harm to health in parts: detected, routed around, capacity back, warm again.

What each part rests on is in the record or it is not known; none is inferred from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from faultload.judge.model import Evidence, Recovery
from faultload.judge.recovery import estimate_recovery
from faultload.judge.rows import Flags, Rows
from faultload.judge.scaling import HOLE_INTERVALS
from faultload.judge.shown import Stage
from faultload.judge.slo import Events
from faultload.record import PhaseName

BASELINE_MIN = 100
"""So many served requests of a tier tell the p95 of its time to first token."""
SLOW_SHARE = 0.10
"""Of requests, how many may be slower than the baseline's p95: twice as many as there."""
TICK_S = 1e-3
"""Latencies that differ by less are equal."""
_ROWS, _SERIES = "requests.parquet", "series.parquet"
Samples = Sequence[tuple[float, float]]


def split_recovery(
    evidence: Evidence, rows: Rows, window: tuple[float, float] | None, recoveries: list[Recovery]
) -> list[Stage]:
    """Return the four parts, in order; none where no harm was done.

    detect     the platform shows first that it noticed: a request sent again, a replica that its
               router took out, or one ready replica less.
    reroute    the last request that had to be sent again, or failed, before users were well.
    capacity   as many replicas ready as before, to the end.
    warm       time to first token back at the baseline's, by the estimator of recoveries.
    """
    if window is None:
        return []
    end_s = max((phase.end_s for phase in evidence.phases), default=window[1])
    stages = [
        _detect(evidence, window[0], end_s),
        _reroute(evidence, rows, window, recoveries),
        _capacity(evidence, window[0], end_s),
        _warm(evidence, rows, window, end_s),
    ]
    reached = 0.0
    split = []
    for stage in stages:
        if stage.reached_s is not None:
            stage = replace(stage, took_s=max(0.0, stage.reached_s - reached))  # noqa: PLW2901
            reached = max(reached, stage.reached_s or 0.0)
        split.append(stage)
    return split


def _unknown(name: str, why: str, evidence: str) -> Stage:
    return Stage(name, None, None, None, why, evidence)


def _detect(evidence: Evidence, harm_s: float, end_s: float) -> Stage:
    rows = evidence.requests
    seen: list[Stage] = []
    again = _sent_again(evidence)
    first_s, sent_s = (
        rows[name].to_numpy(dtype=np.float64) for name in ("first_token_s", "sent_s")
    )
    since = np.flatnonzero(again & (first_s > harm_s))
    if len(since):
        at = since[int(np.argmin(first_s[since]))]
        # Sent again at some moment between these two.
        early, late = max(harm_s, float(sent_s[at])), float(first_s[at])
        text = f"request {int(rows['index'].iloc[at])} had been sent again when it was answered"
        middle, half = (early + late) / 2 - harm_s, (late - early) / 2
        seen.append(Stage("detect", middle, None, half, text, _ROWS))
    for name, samples in _watched(evidence):
        dropped = _first_below(samples, harm_s, end_s)
        if dropped is not None:
            before_s, at_s, count = dropped
            text = f"{name} fell to {count:g}"
            error_s = at_s - max(before_s, harm_s)
            seen.append(Stage("detect", at_s - harm_s, None, error_s, text, _SERIES))
    if seen:
        return min(seen, key=lambda stage: (stage.reached_s or 0.0, stage.text))
    why = "no request was sent again, and no count of replicas fell"
    if not _watched(evidence):
        why = "no request was sent again, and replicas were not counted"
    return _unknown("detect", why, _ROWS)


def _reroute(
    evidence: Evidence,
    rows: Rows,
    window: tuple[float, float],
    recoveries: Sequence[Recovery],
) -> Stage:
    harm_s = window[0]
    slowest = max((r.recovery_s for r in recoveries if r.recovery_s is not None), default=None)
    if slowest is None or any(r.recovery_s is None for r in recoveries):
        return _unknown("reroute", "users were not seen to be well again", _ROWS)
    until_s = harm_s + slowest if slowest > 0 else window[1]
    sent_s, failed = rows.sent, ~(rows.served | rows.unfinished | rows.unsent)
    since = (sent_s >= harm_s) & (sent_s <= until_s)
    hurt = np.flatnonzero(since & (failed | _sent_again(evidence)))
    if not len(hurt):
        why = "no request sent since the harm had to be sent again or failed"
        return _unknown("reroute", why, _ROWS)
    last_s = float(sent_s[hurt].max())
    later = sent_s[sent_s > last_s]
    error_s = float(later.min()) - last_s if len(later) else 0.0
    text = f"the last of {len(hurt)} requests that had to be sent again or failed was sent"
    return Stage("reroute", last_s - harm_s, None, error_s, text, _ROWS)


def _sent_again(evidence: Evidence) -> Flags:
    rows = evidence.requests
    again = np.zeros(len(rows), dtype=np.bool_)
    for name in ("retries", "migrations"):
        if name in rows:
            again |= np.nan_to_num(rows[name].to_numpy(dtype=np.float64)) > 0
    return again


def _capacity(evidence: Evidence, harm_s: float, end_s: float) -> Stage:
    if not evidence.replicas:
        return _unknown("capacity", "ready replicas were not counted", _SERIES)
    hole_s = HOLE_INTERVALS * evidence.scrape_interval_s
    backs: list[Stage] = []
    for name, counts in sorted(evidence.replicas.items()):
        before = [count for at_s, count in counts.ready if at_s <= harm_s]
        after = [(at_s, count) for at_s, count in counts.ready if harm_s < at_s <= end_s]
        if not before or not after or end_s - after[-1][0] > hole_s:
            return _unknown("capacity", f"{name}: samples of ready replicas are missing", _SERIES)
        below = [at_s for at_s, count in after if count < before[-1]]
        if not below:
            continue
        back = next(((at_s, count) for at_s, count in after if at_s > below[-1]), None)
        if back is None:
            watched_s = after[-1][0] - harm_s
            why = f"{name} had fewer ready replicas than before for {watched_s:.1f} s and more"
            return _unknown("capacity", why, _SERIES)
        text = f"{name} had {back[1]:g} ready replicas again"
        took = Stage("capacity", back[0] - harm_s, None, back[0] - below[-1], text, _SERIES)
        backs.append(took)
    if not backs:
        interval = f"{evidence.scrape_interval_s:g} s"
        why = f"no sample, one each {interval}, shows fewer ready replicas than before"
        return _unknown("capacity", why, _SERIES)
    return max(backs, key=lambda stage: stage.reached_s or 0.0)


def _warm(evidence: Evidence, rows: Rows, window: tuple[float, float], end_s: float) -> Stage:
    baseline = next((p for p in evidence.phases if p.name is PhaseName.BASELINE), None)
    if baseline is None:
        return _unknown("warm", "there was no baseline to go back to", _ROWS)
    steady = (rows.due >= baseline.start_s) & (rows.due < min(baseline.end_s, window[0]))
    ttft = rows.first - rows.due
    known, slow = np.zeros_like(rows.served), ~rows.served
    for tier in set(rows.tier):  # pandas would take 50 MB a million rows to tell two names apart
        own = rows.tier == tier
        served = ttft[own & steady & rows.served]
        if len(served) >= BASELINE_MIN:
            usual_s = float(np.quantile(served, 0.95, method="inverted_cdf"))
            known |= own
            slow |= own & (ttft > usual_s + TICK_S)
    known &= ~rows.unsent & ~rows.unfinished
    if not known.any():
        why = f"no tier had {BASELINE_MIN} answers in the baseline to compare with"
        return _unknown("warm", why, _ROWS)
    events = Events(rows.due[known], slow[known], ttft[known])
    found = estimate_recovery("ttft", SLOW_SHARE, events, window, end_s)
    if found.recovery_s is None:
        why = f"time to first token was not back for sure after {found.censored_at_s or 0:.1f} s"
        return _unknown("warm", why, _ROWS)
    if found.impact_s is None:
        text = "time to first token never left its baseline"
        return Stage("warm", 0.0, None, found.error_s, text, _ROWS)
    text = "nine of ten first tokens came as soon as 19 of 20 had in the baseline"
    return Stage("warm", found.recovery_s, None, found.error_s, text, _ROWS)


def _watched(evidence: Evidence) -> list[tuple[str, Samples]]:
    """Return what shows that the platform noticed: who counts, and its samples."""
    ready = [(f"{who}'s ready replicas", c.ready) for who, c in sorted(evidence.replicas.items())]
    used = sorted(evidence.usable.items())
    return [*ready, *((f"replicas in use by the router {who}", samples) for who, samples in used)]


def _first_below(
    samples: Samples, harm_s: float, end_s: float
) -> tuple[float, float, float] | None:
    """Return the sample before, the time and the count of the first that is below the harm's."""
    before = [(at_s, count) for at_s, count in samples if at_s <= harm_s]
    if not before:
        return None
    last_s, usual = before[-1]
    for at_s, count in samples:
        if harm_s < at_s <= end_s:
            if count < usual:
                return last_s, at_s, count
            last_s = at_s
    return None
