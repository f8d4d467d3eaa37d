"""Claims about an autoscaler: how soon replicas came and went, and who was refused meanwhile.

Times are those of samples, so they are late by a few scrape intervals at most, never early. Where
samples are missing for longer, nobody knows what they would have said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from faultload.judge.model import Evidence, Expectation, Verdict, by_severity
from faultload.record import InjectionStep, Outcome

HOLE_INTERVALS = 4
"""So many scrape intervals may pass between two samples; beyond it samples are missing."""
REFUSALS = (502, 503)
Samples = Sequence[tuple[float, float]]


def hold_scaling(evidence: Evidence, window: tuple[float, float] | None) -> list[Expectation]:
    """Return one expectation for each claim of these.

    Args:
        evidence: the run's.
        window: first harm and proven end of the fault; None: no harm was done.
    """
    expects, claims = evidence.expects, list[Expectation]()
    if expects.scale_up_s_max is not None:
        claims.append(hold_scale_up(expects.scale_up_s_max, evidence, window))
    if expects.scale_down_s_max is not None:
        claims.append(hold_scale_down(expects.scale_down_s_max, evidence, window))
    if expects.refused_max is not None:
        claims.append(hold_refused(expects.refused_max, evidence, window))
    return claims


def hold_scale_up(
    limit: float, evidence: Evidence, window: tuple[float, float] | None
) -> Expectation:
    """Hold `scale_up_s_max`: from the first harm until each tier that was to grow grew by one.

    A tier was to grow when it wanted more after the harm than before. None was, although all were
    watched for that long: the claim is broken. A tier that was not watched may have been to grow.
    """
    name, claimed = "scale_up_s_max", f"(claimed under {limit:g} s)"
    if window is None or not evidence.replicas:
        return _unknown(name, limit, "how many replicas there were is not known", claimed)
    tiers = _tiers(evidence, window[0])
    said = _worst(_grew(tier, limit) for tier in tiers)
    if said is None:
        watched_s = min(own.last_s for tier in tiers for own in tier.series) - window[0]
        verdict = Verdict.FAIL if watched_s >= limit else Verdict.INCONCLUSIVE
        said = _Said(verdict, None, f"no tier was to grow within {watched_s:.1f} s")
    return Expectation(name, limit, said.found_s, said.verdict, f"{said.text} {claimed}")


def hold_scale_down(
    limit: float, evidence: Evidence, window: tuple[float, float] | None
) -> Expectation:
    """Hold `scale_down_s_max`: from the harm's end until each tier that grew is as small as before.

    It must stay so to the last sample, and that must not be an early one: `limit` after the harm's
    end, or the run's end. Where nothing grew there was nothing to see.
    """
    name, claimed = "scale_down_s_max", f"(claimed under {limit:g} s)"
    if window is None or not evidence.replicas:
        return _unknown(name, limit, "how many replicas there were is not known", claimed)
    harm_s, gone_s = window
    run_s = max((phase.end_s for phase in evidence.phases), default=math.inf)
    end_s = min(run_s, gone_s + limit)
    said = _worst(_shrank(tier, gone_s, limit, end_s) for tier in _tiers(evidence, harm_s))
    if said is None:
        return _unknown(name, limit, "no tier grew, so none could shrink", claimed)
    return Expectation(name, limit, said.found_s, said.verdict, f"{said.text} {claimed}")


def hold_refused(limit: int, evidence: Evidence, window: tuple[float, float] | None) -> Expectation:
    """Hold `refused_max`: requests answered 502 or 503 since the harm, added traffic included."""
    name, claimed = "refused_max", f"(claimed at most {limit})"
    if window is None:
        return _unknown(name, limit, "refused requests were not counted: no harm was done", claimed)
    added = [
        entry.evidence["data"]["refused_requests"]
        for entry in evidence.injections
        if entry.step is InjectionStep.VERIFIED_REVERTED
        and "refused_requests" in entry.evidence.get("data", {})
    ]
    rows = evidence.requests
    own = rows["http_status"].isin(REFUSALS) & (rows["end_s"] >= window[0])
    found = int(own.sum()) + sum(one for one in added if one is not None)
    text = f"{found} requests refused with 502 or 503 {claimed}"
    if found > limit:
        return Expectation(name, limit, found, Verdict.FAIL, text)
    if None in added or evidence.outcome is not Outcome.COMPLETED:
        text = f"at least {text}, and not all of it was seen"
        return Expectation(name, limit, found, Verdict.INCONCLUSIVE, text)
    return Expectation(name, limit, found, Verdict.PASS, text)


@dataclass(frozen=True)
class _Said:
    """What one tier says of a claim; `found_s` is the time that it took, None: not seen."""

    verdict: Verdict
    found_s: float | None
    text: str


@dataclass(frozen=True)
class _Series:
    """Samples of one number of replicas.

    Attributes:
        words: whose, and which number.
        samples: of the whole run.
        harm_s: first harm; what counts is what there was more than before it.
        hole_s: longer without a sample is a hole.
    """

    words: str
    samples: Samples
    harm_s: float
    hole_s: float

    @property
    def last_s(self) -> float:
        return self.samples[-1][0] if self.samples else -math.inf

    @property
    def larger(self) -> list[float]:
        """Return when there was more than before the harm; empty too where that is not known."""
        before = [value for at_s, value in self.samples if at_s <= self.harm_s][-1:]
        return [at_s for at_s, value in self.samples if before and value > before[0]]

    def grown_s(self) -> float | None:
        """Return when there first was more than before the harm."""
        return next((at_s for at_s in self.larger if at_s > self.harm_s), None)

    def small_s(self, gone_s: float) -> float | None:
        """Return from when on there was no more than before, of the time after `gone_s`."""
        since_s = max([gone_s, *self.larger[-1:]])
        return next((at_s for at_s, _ in self.samples if at_s > since_s), None)

    def is_late(self, met_s: float | None, limit_s: float) -> bool:
        """Say whether what was met at `met_s` (None: never) was seen not to be met by `limit_s`."""
        if (met_s is not None and met_s <= limit_s) or self.last_s < limit_s:
            return False
        return not any(self.missing(at_s, at_s) for at_s in (self.harm_s, limit_s))

    def missing(self, since_s: float, until_s: float) -> str:
        """Say where the first hole between two moments is; "" where there is none."""
        moments = [-math.inf, *(at_s for at_s, _ in self.samples), math.inf]
        for left_s, right_s in pairwise(moments):
            if right_s > since_s and min(right_s, until_s) - left_s > self.hole_s:
                return f"samples of {self.words} are missing: {_between(left_s, right_s)}"
        return ""


def _between(left_s: float, right_s: float) -> str:
    if left_s == -math.inf:
        early = f"none was taken before {right_s:.1f} s of the run"
        return "none of them was taken" if right_s == math.inf else early
    if right_s == math.inf:
        return f"none was taken after {left_s:.1f} s of the run"
    return f"none was taken from {left_s:.1f} to {right_s:.1f} s of the run"


@dataclass(frozen=True)
class _Tier:
    name: str
    harm_s: float
    wanted: _Series
    ready: _Series

    @property
    def series(self) -> tuple[_Series, _Series]:
        return self.wanted, self.ready


def _tiers(evidence: Evidence, harm_s: float) -> list[_Tier]:
    hole_s = HOLE_INTERVALS * evidence.scrape_interval_s
    return [
        _Tier(
            name,
            harm_s,
            _Series(f"{name}'s replicas wanted", counts.wanted, harm_s, hole_s),
            _Series(f"{name}'s replicas ready", counts.ready, harm_s, hole_s),
        )
        for name, counts in sorted(evidence.replicas.items())
    ]


def _grew(tier: _Tier, limit: float) -> _Said | None:
    """Return what a tier says of growth; None: it was watched, and was not to grow."""
    limit_s = tier.harm_s + limit
    wish_s, grown_s = tier.wanted.grown_s(), tier.ready.grown_s()
    if wish_s is None or not tier.ready.is_late(grown_s, limit_s):
        for series, seen_s in ((tier.wanted, wish_s), (tier.ready, grown_s)):
            until_s = limit_s if seen_s is None else min(seen_s, limit_s)
            if missing := series.missing(tier.harm_s, until_s):
                return _Said(Verdict.INCONCLUSIVE, None, missing)
    if wish_s is None:
        return None
    if grown_s is None:
        watched_s = tier.ready.last_s - tier.harm_s
        verdict = Verdict.FAIL if watched_s >= limit else Verdict.INCONCLUSIVE
        text = f"{tier.name} had no replica more ready within {watched_s:.1f} s"
        return _Said(verdict, None, text)
    return _judged(grown_s - tier.harm_s, limit, "one replica more was ready")


def _shrank(tier: _Tier, gone_s: float, limit: float, end_s: float) -> _Said | None:
    """Return what a tier says of shrinking by `end_s`; None: it was watched, and never grew."""
    limit_s, grew = gone_s + limit, tier.wanted.grown_s() is not None
    backs = [series.small_s(gone_s) for series in tier.series]
    back_s = None if None in backs else max(at_s for at_s in backs if at_s is not None)
    late = any(
        series.is_late(at_s, limit_s) or any(at > limit_s for at in series.larger)
        for series, at_s in zip(tier.series, backs, strict=True)
    )
    if not (grew and late):
        watched_s = end_s if back_s is None or not grew else min(back_s, end_s)
        for series in tier.series:
            # A number that was back must stay so: then its samples go on.
            holes = (series.missing(tier.harm_s, watched_s), series.missing(series.last_s, end_s))
            if missing := holes[0] or holes[1]:
                return _Said(Verdict.INCONCLUSIVE, None, missing)
    if not grew:
        return None
    if back_s is None:
        verdict = Verdict.FAIL if late else Verdict.INCONCLUSIVE
        watched_s = min(series.last_s for series in tier.series) - gone_s
        text = f"{tier.name} was larger than before for {watched_s:.1f} s and more"
        return _Said(verdict, None, text)
    return _judged(back_s - gone_s, limit, "as few replicas as before")


def _judged(found_s: float, limit: float, text: str) -> _Said:
    verdict = Verdict.FAIL if found_s > limit else Verdict.PASS
    return _Said(verdict, found_s, f"{text} in {found_s:.1f} s")


def _worst(said: Iterable[_Said | None]) -> _Said | None:
    """Return what the worst tier says, of these the slowest; None: nothing is claimed of any."""

    def order(one: _Said) -> tuple[int, float]:
        return by_severity(one.verdict), -math.inf if one.found_s is None else -one.found_s

    return min((one for one in said if one is not None), key=order, default=None)


def _unknown(name: str, limit: float, why: str, claimed: str) -> Expectation:
    return Expectation(name, limit, None, Verdict.INCONCLUSIVE, f"{why} {claimed}")
