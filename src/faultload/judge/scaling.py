"""Claims about an autoscaler: how soon replicas came and went, and who was refused meanwhile.

Times are those of samples, so they are late by a scrape interval at most, never early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from faultload.judge.model import Evidence, Expectation, ReplicaCounts, Verdict
from faultload.record import InjectionStep, Outcome

_REFUSALS = (502, 503)
Samples = Sequence[tuple[float, float]]


def hold_scaling(evidence: Evidence, window: tuple[float, float] | None) -> list[Expectation]:
    """Return one expectation for each claim of these.

    Args:
        evidence: the run's.
        window: first harm and proven end of the fault; None: no harm was done.
    """
    expects, replicas, claims = evidence.expects, evidence.replicas, list[Expectation]()
    if expects.scale_up_s_max is not None:
        claims.append(hold_scale_up(expects.scale_up_s_max, replicas, window))
    if expects.scale_down_s_max is not None:
        claims.append(hold_scale_down(expects.scale_down_s_max, replicas, window))
    if expects.refused_max is not None:
        claims.append(hold_refused(expects.refused_max, evidence, window))
    return claims


def hold_scale_up(
    limit: float, replicas: Mapping[str, ReplicaCounts], window: tuple[float, float] | None
) -> Expectation:
    """Hold `scale_up_s_max`: from the first harm until each tier that was to grow grew by one.

    A tier was to grow when it wanted more after the harm than before. None was, although it was
    watched for that long: the claim is broken.
    """
    name, claimed = "scale_up_s_max", f"(claimed under {limit:g} s)"
    known = _known(replicas, window)
    if window is None or not known:
        return _unknown(name, limit, "how many replicas there were is not known", claimed)
    harm_s = window[0]
    watched_s = min(counts.ready[-1][0] for counts in known.values()) - harm_s
    growing = _growing(known, harm_s)
    if not growing:
        verdict = Verdict.FAIL if watched_s >= limit else Verdict.INCONCLUSIVE
        text = f"no tier was to grow within {watched_s:.1f} s {claimed}"
        return Expectation(name, limit, None, verdict, text)
    times = {
        tier: _first(counts.ready, harm_s, _at(counts.ready, harm_s) + 1)
        for tier, counts in growing.items()
    }
    late = sorted(tier for tier, at_s in times.items() if at_s is None)
    if late:
        verdict = Verdict.FAIL if watched_s >= limit else Verdict.INCONCLUSIVE
        text = f"{late[0]} had no replica more ready within {watched_s:.1f} s {claimed}"
        return Expectation(name, limit, None, verdict, text)
    return _judged(
        name, limit, times, harm_s, f"one replica more was ready in {{:.1f}} s {claimed}"
    )


def hold_scale_down(
    limit: float, replicas: Mapping[str, ReplicaCounts], window: tuple[float, float] | None
) -> Expectation:
    """Hold `scale_down_s_max`: from the harm's end until each tier that grew is as small as before.

    It must stay so to the last sample. Where nothing grew there was nothing to see.
    """
    name, claimed = "scale_down_s_max", f"(claimed under {limit:g} s)"
    known = _known(replicas, window)
    if window is None or not known:
        return _unknown(name, limit, "how many replicas there were is not known", claimed)
    harm_s, gone_s = window
    growing = _growing(known, harm_s)
    if not growing:
        return _unknown(name, limit, "no tier grew, so none could shrink", claimed)
    watched_s = min(counts.ready[-1][0] for counts in known.values()) - gone_s
    times = {tier: _small_since(counts, harm_s, gone_s) for tier, counts in growing.items()}
    late = sorted(tier for tier, at_s in times.items() if at_s is None)
    if late:
        verdict = Verdict.FAIL if watched_s >= limit else Verdict.INCONCLUSIVE
        text = f"{late[0]} was larger than before for {watched_s:.1f} s and more {claimed}"
        return Expectation(name, limit, None, verdict, text)
    return _judged(name, limit, times, gone_s, f"as few replicas as before in {{:.1f}} s {claimed}")


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
    own = rows["http_status"].isin(_REFUSALS) & (rows["end_s"] >= window[0])
    found = int(own.sum()) + sum(one for one in added if one is not None)
    text = f"{found} requests refused with 502 or 503 {claimed}"
    if found > limit:
        return Expectation(name, limit, found, Verdict.FAIL, text)
    if None in added or evidence.outcome is not Outcome.COMPLETED:
        text = f"at least {text}, and not all of it was seen"
        return Expectation(name, limit, found, Verdict.INCONCLUSIVE, text)
    return Expectation(name, limit, found, Verdict.PASS, text)


def _known(
    replicas: Mapping[str, ReplicaCounts], window: tuple[float, float] | None
) -> dict[str, ReplicaCounts]:
    """Return the tiers whose size before and after the first harm was seen."""
    if window is None:
        return {}
    return {
        tier: counts
        for tier, counts in replicas.items()
        if all(own and own[0][0] <= window[0] < own[-1][0] for own in (counts.wanted, counts.ready))
    }


def _growing(known: Mapping[str, ReplicaCounts], harm_s: float) -> dict[str, ReplicaCounts]:
    return {
        tier: counts
        for tier, counts in known.items()
        if _first(counts.wanted, harm_s, _at(counts.wanted, harm_s) + 1) is not None
    }


def _small_since(counts: ReplicaCounts, harm_s: float, gone_s: float) -> float | None:
    """Return from when on a tier has, and is to have, no more than before the harm; None: never."""
    small = []
    for samples in (counts.wanted, counts.ready):
        before = _at(samples, harm_s)
        larger = [at_s for at_s, value in samples if at_s > harm_s and value > before]
        since = next((at_s for at_s, _ in samples if at_s > max([gone_s, *larger[-1:]])), None)
        if since is None:
            return None
        small.append(since)
    return max(small)


def _at(samples: Samples, moment_s: float) -> float:
    return [value for at_s, value in samples if at_s <= moment_s][-1]


def _first(samples: Samples, after_s: float, least: float) -> float | None:
    return next((at_s for at_s, value in samples if at_s > after_s and value >= least), None)


def _judged(
    name: str, limit: float, times: Mapping[str, float | None], since_s: float, text: str
) -> Expectation:
    slowest_s = max(at_s for at_s in times.values() if at_s is not None) - since_s
    verdict = Verdict.FAIL if slowest_s > limit else Verdict.PASS
    return Expectation(name, limit, slowest_s, verdict, text.format(slowest_s))


def _unknown(name: str, limit: float, why: str, claimed: str) -> Expectation:
    return Expectation(name, limit, None, Verdict.INCONCLUSIVE, f"{why} {claimed}")
