"""Choosing victims, and waiting for what a fault should have done to them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.limits import Limits
from faultload.faults.protocol import Evidence, Plan
from faultload.targets import Node, Replica, Target

Select = Literal["busiest", "random"]

_NOTICE_S = 3.0
"""Longer than the failed probes after which a platform knows that a replica is gone."""


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Choice:
    """An intent: how many replicas of what to hit. The target says who that is.

    Types are checked: the values come from a file.

    Attributes:
        component: what is hit.
        replicas: how many.
        tier: only replicas of this tier; None: of any.
        select: `busiest`: those serving most requests, so that a kill cuts streams; `random`.
    """

    component: str = "engine"
    replicas: int = 1
    tier: str | None = None
    select: Select = "busiest"

    @property
    def hits(self) -> int | None:
        """How many replicas it hits."""
        return self.replicas

    def resolve(self, target: Target, limits: Limits) -> list[Replica]:
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
        limits.check(self.component, self.replicas, len(ready))
        return ordered(eligible, self.select, limits.seed)[: self.replicas]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class NodeChoice:
    """An intent: how many machines with replicas of a component to hit.

    Attributes:
        component: whose machines.
        nodes: how many.
        tier: only machines with replicas of this tier; None: of any.
        select: `busiest`: those whose replicas serve most requests; `random`.
    """

    component: str = "engine"
    nodes: int = 1
    tier: str | None = None
    select: Select = "busiest"

    @property
    def hits(self) -> int | None:
        """Only the target knows how many replicas a machine has."""
        return None

    def resolve(self, target: Target, limits: Limits) -> list[tuple[Node, list[Replica]]]:
        """Return each machine with the component's ready replicas on it; nothing is touched.

        Raises:
            FaultError: fewer machines than asked for have such replicas.
            RefusedError: more than the blast radius allows.
        """
        ready = [replica for replica in target.replicas(self.component) if replica.ready]
        wanted = {r.node for r in ready if self.tier is None or r.tier == self.tier}
        eligible = [n for n in target.nodes() if n.name in wanted and n.schedulable]
        if self.nodes < 1 or len(eligible) < self.nodes:
            of_tier = f" of tier {self.tier!r}" if self.tier else ""
            raise FaultError(
                f"expected at least {max(self.nodes, 1)} schedulable node(s) with ready"
                f" {self.component} replicas{of_tier} to hit, found {len(eligible)} and was asked"
                f" to hit {self.nodes}"
            )
        on = {n.name: [r for r in ready if r.node == n.name] for n in eligible}
        order = np.random.default_rng(limits.seed).permutation(len(eligible))
        chosen = [eligible[index] for index in order]
        if self.select == "busiest":
            chosen.sort(key=lambda node: -sum(r.inflight or 0 for r in on[node.name]))
        chosen = chosen[: self.nodes]
        limits.check(self.component, sum(len(on[node.name]) for node in chosen), len(ready))
        return [(node, on[node.name]) for node in chosen]


def ordered(replicas: Sequence[Replica], select: Select, seed: int) -> list[Replica]:
    """Return replicas in the order they are hit."""
    order = np.random.default_rng(seed).permutation(len(replicas))
    shuffled = [replicas[index] for index in order]
    if select == "busiest":
        shuffled.sort(key=lambda replica: -(replica.inflight or 0))
    return shuffled


def ready_now(target: Target, component: str) -> dict[str, int]:
    """Return how many replicas of a component are ready, by tier: `before` of a plan."""
    return dict(Counter(r.tier for r in target.replicas(component) if r.ready))


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

    return _wait(target, plan, are_back, timeout_s, "ready again")


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
    return [
        {"name": r.name, "uid": r.uid, "tier": r.tier, "ready": r.ready, "restarts": r.restarts}
        for component in sorted({victim["component"] for victim in plan.victims})
        for r in target.replicas(component)
    ]
