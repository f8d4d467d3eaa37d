"""Batch size against throughput, latency and cost: the knee, and the cheapest setting that holds.

What is chosen is chosen by the ends of intervals; docs/cost.md says how, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faultload.judge.model import Verdict
from faultload.judge.setting import Estimate, Setting

SETTINGS_MIN = 3
"""A curve of fewer settings has no inside, where a knee could be."""


@dataclass(frozen=True)
class Knee:
    """Where a larger batch begins to cost more latency than it brings throughput.

    Attributes:
        batch: None: not known.
        alike: other settings whose power cannot be told from the knee's.
        text: in words.
    """

    batch: int | None
    alike: Sequence[int]
    text: str


@dataclass(frozen=True)
class Choice:
    """The cheapest setting that holds every SLO.

    Attributes:
        verdict: pass: there is one; fail: every setting is proven to break an SLO; else
            inconclusive.
        batch: None: there is none, or it is not known.
        alike: other settings that hold, and cost as much as far as can be told.
        open: settings that may be cheaper and may hold, for all that is known.
        text: in words.
    """

    verdict: Verdict
    batch: int | None
    alike: Sequence[int]
    open: Sequence[int]
    text: str


@dataclass(frozen=True)
class Curve:
    """Every setting, smallest batch first, with what follows from them."""

    settings: Sequence[Setting]
    knee: Knee
    choice: Choice


def judge_curve(settings: Sequence[Setting]) -> Curve:
    """Return the curve with its knee and the cheapest setting that holds."""
    ordered = sorted(settings, key=lambda one: one.batch)
    return Curve(ordered, find_knee(ordered), choose(ordered))


def find_knee(settings: Sequence[Setting]) -> Knee:
    """Return the setting of the largest power, if it lies inside the sweep.

    Power is throughput over latency (Kleinrock, "Power and deterministic rules of thumb", ICC
    1979), and the knee is where it is largest (Jain, Ramakrishnan and Chiu, DEC-TR-506, 1987):
    beyond it throughput grows by a smaller factor than latency. Unlike a distance from the chord
    between the curve's ends (Kneedle), it does not move with the largest setting that was tried.

    Args:
        settings: smallest batch first.
    """
    known = [(one.batch, power) for one in settings if (power := one.power) is not None]
    if len(known) < SETTINGS_MIN:
        text = (
            f"Not known: it takes {SETTINGS_MIN} settings with numbers, and {len(known)} have some."
        )
        return Knee(None, (), text)
    place = max(range(len(known)), key=lambda index: known[index][1].value)
    batch, best = known[place]
    alike = tuple(b for b, power in known if b != batch and power.high >= best.low)
    if place == 0:
        text = f"Not inside the sweep: at or below {batch}, the smallest setting; try smaller ones."
        return Knee(None, (), text)
    if place == len(known) - 1:
        text = f"Not inside the sweep: at or beyond {batch}, the largest setting; try larger ones."
        return Knee(None, (), text)
    text = (
        f"{batch}: beyond it throughput grows by a smaller factor than latency.{_told_apart(alike)}"
    )
    return Knee(batch, alike, text)


def choose(settings: Sequence[Setting]) -> Choice:
    """Return the cheapest setting, by good tokens, of those proven to hold every SLO.

    A setting of which too little is known to say so is never chosen; it is named where it may be
    cheaper than the one that is.

    Args:
        settings: smallest batch first.
    """
    holding = [one for one in settings if one.verdict is Verdict.PASS]
    unknown = [one for one in settings if one.verdict is Verdict.INCONCLUSIVE]
    if not holding:
        if settings and not unknown:
            text = "No setting holds: each is proven to break an SLO."
            return Choice(Verdict.FAIL, None, (), (), text)
        return Choice(Verdict.INCONCLUSIVE, None, (), _batches(unknown), _why_none(unknown))
    priced = [(one, usd) for one in holding if (usd := one.usd_per_1m_good_tokens) is not None]
    if len(priced) < len(holding):
        missing = next(one for one in holding if one.usd_per_1m_good_tokens is None)
        why = missing.cost_problem or "no good token was served"
        text = f"Not known: {missing.batch} holds every SLO, and what it costs is not known: {why}."
        return Choice(Verdict.INCONCLUSIVE, None, (), _batches(holding), text)
    best, usd = min(priced, key=lambda pair: (pair[1].value, pair[0].batch))
    alike = tuple(one.batch for one, own in priced if one is not best and own.low <= usd.high)
    may_be = [one for one in unknown if _may_cost_less(one, usd)]
    text = (
        f"{best.batch}: every SLO is proven to hold, at {usd.value:.3g} USD per million good tokens"
        f" ({usd.low:.3g} to {usd.high:.3g}).{_told_apart(alike)}"
    )
    if may_be:
        text += f" {_listed(_batches(may_be))} may be cheaper, and may hold: {_reason(may_be[0])}."
    return Choice(Verdict.PASS, best.batch, alike, _batches(may_be), text)


def _may_cost_less(one: Setting, usd: Estimate) -> bool:
    own = one.usd_per_1m_good_tokens
    return own is None or own.low <= usd.high


def _why_none(unknown: Sequence[Setting]) -> str:
    if not unknown:
        return "Not known: nothing was measured."
    if all(not one.slos and not one.problems for one in unknown):
        return "Not known: no SLO speaks of these requests; give one with --slo."
    return (
        f"Not known: no setting is proven to hold every SLO, and {_listed(_batches(unknown))} may:"
        f" {_reason(unknown[0])}."
    )


def _reason(one: Setting) -> str:
    if one.problems:
        return f"the run at {one.batch} is not believed ({one.problems[0].rstrip('.')})"
    held = next(held for held in one.slos if held.verdict is Verdict.INCONCLUSIVE)
    if held.events < held.events_min:
        return (
            f"at {one.batch}, {held.slo} has {held.events} requests, and {held.events_min} without"
            " a bad one would prove it; measure longer (--for-s)"
        )
    low, high = held.interval or (0.0, 1.0)
    return (
        f"at {one.batch}, between {low:.2%} and {high:.2%} of {held.slo} are bad, and"
        f" {held.budget:.2%} may be; measure longer (--for-s)"
    )


def _batches(settings: Sequence[Setting]) -> tuple[int, ...]:
    return tuple(one.batch for one in settings)


def _told_apart(alike: Sequence[int]) -> str:
    return f" {_listed(alike)} cannot be told from it." if alike else ""


def _listed(batches: Sequence[int]) -> str:
    words = [str(batch) for batch in batches]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
