"""Waiting, within a bound, for what a fault should have done, and for its end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from faultload.errors import FaultError
from faultload.faults.protocol import Evidence, Plan
from faultload.targets import Target

Seen = TypeVar("Seen")

_PAUSE_S_MIN, _PAUSE_S_MAX = 0.05, 0.5
_NOTICE_S = 3.0
"""Longer than the failed probes after which a platform knows that a replica is gone."""


def pause_s(waited_s: float) -> float:
    """Return how long to pause before the next look: longer the longer one has waited.

    A cluster's API server is not to be asked twenty times a second for a minute.
    """
    return min(max(waited_s / 20, _PAUSE_S_MIN), _PAUSE_S_MAX)


def wait_until(
    look: Callable[[], Seen], holds: Callable[[Seen], bool], timeout_s: float, expected: str
) -> tuple[Seen, float]:
    """Look until it holds; return what was seen last and how long that took, s.

    Args:
        look: asks the system.
        holds: says whether what was seen is what is waited for.
        timeout_s: the bound.
        expected: in words, for the error.

    Raises:
        FaultError: not within the bound; says what was last seen.
    """
    start = time.monotonic()
    while True:
        seen = look()
        waited_s = time.monotonic() - start
        if holds(seen):
            return seen, waited_s
        if waited_s > timeout_s:
            raise FaultError(f"expected {expected} within {timeout_s:g} s; last seen: {seen}")
        time.sleep(pause_s(waited_s))


def ready_now(target: Target, component: str) -> dict[str, int]:
    """Return how many replicas of a component are ready, by tier: `before` of a plan."""
    return dict(Counter(r.tier for r in target.replicas(component) if r.ready))


def prove_unready(target: Target, plan: Plan, timeout_s: float) -> Evidence:
    """Wait until no victim is ready under its planned uid; one no longer listed is not ready.

    Raises:
        FaultError: not within the bound.
    """
    hit = {victim["uid"] for victim in plan.victims}

    def are_unready(states: list[dict[str, Any]]) -> bool:
        return not any(s["ready"] and s["uid"] in hit for s in states)

    return _wait(target, plan, are_unready, timeout_s, "not ready")


def prove_restored(target: Target, plan: Plan, timeout_s: float) -> Evidence:
    """Wait until each victim's name is ready, or each tier has as many ready replicas as before.

    A victim ready under its planned uid may be dead already and its platform not know yet: that
    state must last for longer than a platform takes to notice.

    Raises:
        FaultError: not within the bound.
    """
    hit = {victim["uid"] for victim in plan.victims}
    names = {victim["name"] for victim in plan.victims}
    tiers = {victim["tier"] for victim in plan.victims}
    before: dict[str, int] = plan.before["ready"]
    since_s: float | None = None

    def are_back(states: list[dict[str, Any]]) -> bool:
        nonlocal since_s
        ready = [s for s in states if s["ready"]]
        counts = Counter(s["tier"] for s in ready)
        as_many = all(counts[tier] >= before.get(tier, 0) for tier in tiers)
        if not as_many and not names <= {s["name"] for s in ready}:
            since_s = None
            return False
        since_s = since_s or time.monotonic()
        replaced = all(s["uid"] not in hit for s in ready)
        return replaced or time.monotonic() - since_s >= _NOTICE_S

    seen = _wait(target, plan, are_back, timeout_s, "ready again")
    ready = {s["name"] for s in seen.data["states"] if s["ready"]}
    if names <= ready:
        return seen
    waited_s = seen.data["waited_s"]
    return Evidence(f"{', '.join(sorted(names))} replaced after {waited_s:.2f} s", seen.data)


def say_restored(target: Target, plan: Plan, timeout_s: float, over: str) -> Evidence:
    """Wait as `prove_restored` does, and say so when the platform did not heal.

    For harm that is over whatever the platform makes of it: whether a platform heals is for the
    judge to say, who sees what users saw, and no reason to call the run invalid. `healed` is False
    in the data of one that did not, and absent otherwise.

    Args:
        target: where.
        plan: what was done.
        timeout_s: the bound.
        over: what is over: `the kill is over`.
    """
    try:
        return prove_restored(target, plan, timeout_s)
    except FaultError as error:
        return Evidence(f"{over}, and the platform did not heal: {error}", {"healed": False})


def _wait(
    target: Target,
    plan: Plan,
    condition: Callable[[list[dict[str, Any]]], bool],
    timeout_s: float,
    what: str,
) -> Evidence:
    names = ", ".join(victim["name"] for victim in plan.victims)
    states, waited_s = wait_until(
        lambda: _states(target, plan), condition, timeout_s, f"{names} to be {what}"
    )
    text = f"{names} {what} after {waited_s:.2f} s"
    return Evidence(text, {"waited_s": waited_s, "states": states})


def _states(target: Target, plan: Plan) -> list[dict[str, Any]]:
    return [
        {"name": r.name, "uid": r.uid, "tier": r.tier, "ready": r.ready, "restarts": r.restarts}
        for component in sorted({victim["component"] for victim in plan.victims})
        for r in target.replicas(component)
    ]
