"""Choosing victims, and waiting for what a fault should have done to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from faultload.errors import FaultError, RefusedError
from faultload.faults.protocol import Evidence, Plan
from faultload.targets import Replica, Target

Select = Literal["busiest", "random"]

_NOTICE_S = 3.0
"""Longer than the failed probes after which a platform knows that a replica is gone."""


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Choice:
    """An intent: how many of what to hit. The target says who that is.

    Types are checked: the values come from a file.

    Attributes:
        component: what is hit.
        replicas: how many.
        tier: only replicas of this tier; None: of any.
        select: `busiest`: those serving most requests, so that a kill cuts streams; `random`.
        seed: for `random`, and to break ties.
        share_max: largest share of the component's ready replicas that may be hit, 0-1.
    """

    component: str = "engine"
    replicas: int = 1
    tier: str | None = None
    select: Select = "busiest"
    seed: int = 0
    share_max: float = 1.0

    def resolve(self, target: Target) -> list[Replica]:
        """Return the victims; nothing is touched.

        Raises:
            FaultError: fewer are ready than asked for.
            RefusedError: more than the blast radius allows.
        """
        known = target.replicas(self.component)
        ready = [replica for replica in known if replica.ready]
        eligible = [r for r in ready if self.tier is None or r.tier == self.tier]
        if self.replicas < 1 or len(eligible) < self.replicas:
            of_tier = f" of tier {self.tier!r}" if self.tier else ""
            raise FaultError(
                f"expected at least {max(self.replicas, 1)} ready {self.component}"
                f" replica(s){of_tier} to hit, found {len(eligible)} and was asked to hit"
                f" {self.replicas} ({len(known)} {self.component} replica(s) known in all)"
            )
        share = self.replicas / len(ready)
        if share > self.share_max:
            raise RefusedError(
                f"hitting {self.replicas} of {len(ready)} ready {self.component} replicas is"
                f" {share:.0%} of them, over the blast radius of {self.share_max:.0%}"
            )
        order = np.random.default_rng(self.seed).permutation(len(eligible))
        shuffled = [eligible[index] for index in order]
        if self.select == "busiest":
            shuffled.sort(key=lambda replica: -(replica.inflight or 0))
        return shuffled[: self.replicas]


def as_victims(replicas: list[Replica]) -> list[dict[str, Any]]:
    """Return replicas as a plan's victims."""
    return [asdict(replica) for replica in replicas]


def prove_unready(target: Target, plan: Plan, timeout_s: float) -> Evidence:
    """Wait until no victim is ready under its planned uid; one no longer listed is not ready.

    Raises:
        FaultError: not within the bound.
    """
    hit = {victim["uid"] for victim in plan.victims}

    def are_unready(states: list[dict[str, Any]]) -> bool:
        return not any(s["ready"] and s["uid"] in hit for s in states)

    return _wait(target, plan, are_unready, timeout_s, "not ready")


def prove_ready(target: Target, plan: Plan, timeout_s: float) -> Evidence:
    """Wait until each victim's name is ready, under its planned uid or another.

    A victim ready under its planned uid may be dead already and its platform not know yet: that
    state must last for longer than a platform takes to notice.

    Raises:
        FaultError: not within the bound.
    """
    hit = {victim["uid"] for victim in plan.victims}
    since_s: float | None = None

    def are_back(states: list[dict[str, Any]]) -> bool:
        nonlocal since_s
        if len(states) < len(plan.victims) or not all(s["ready"] for s in states):
            since_s = None
            return False
        since_s = since_s or time.monotonic()
        replaced = all(s["uid"] not in hit for s in states)
        return replaced or time.monotonic() - since_s >= _NOTICE_S

    return _wait(target, plan, are_back, timeout_s, "ready")


def _wait(
    target: Target,
    plan: Plan,
    condition: Callable[[list[dict[str, Any]]], bool],
    timeout_s: float,
    what: str,
) -> Evidence:
    names = ", ".join(victim["name"] for victim in plan.victims)
    start = time.monotonic()
    while True:
        states = _states(target, plan)
        waited_s = time.monotonic() - start
        if condition(states):
            text = f"{names} {what} after {waited_s:.2f} s"
            return Evidence(text, {"waited_s": waited_s, "states": states})
        if waited_s > timeout_s:
            raise FaultError(
                f"expected {names} to be {what} within {timeout_s:g} s; last seen: {states}"
            )
        time.sleep(0.05)


def _states(target: Target, plan: Plan) -> list[dict[str, Any]]:
    names = {victim["name"] for victim in plan.victims}
    return [
        {"name": r.name, "uid": r.uid, "ready": r.ready, "restarts": r.restarts}
        for component in sorted({victim["component"] for victim in plan.victims})
        for r in target.replicas(component)
        if r.name in names
    ]
