"""Choosing victims: intents, resolved on what the target has now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.limits import Limits
from faultload.faults.proofs import ready_now
from faultload.faults.protocol import Plan
from faultload.targets import Node, Replica, Target

Select = Literal["busiest", "random"]

TimeoutS = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
"""Longest wait of a step, s; 0 could not even look once."""

STRICT = ConfigDict(strict=True, extra="forbid")
"""Of every intent: its values come from a file, so nothing is guessed from a wrong type."""

_AtLeastOne = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=STRICT)
class Choice:
    """An intent: how many replicas of what to hit. The target says who that is.

    Types are checked: the values come from a file.

    Attributes:
        component: what is hit.
        replicas: how many.
        tier: only replicas of this tier; None: of any.
        select: `busiest`: those serving most requests, so that a kill cuts streams; `random`.
        cordoned_first: those on nodes that take no new replicas before all others, as when a
            machine is emptied by hand; a preference, since before the run no node may be so yet.
    """

    component: str = "engine"
    replicas: _AtLeastOne = 1
    tier: str | None = None
    select: Select = "busiest"
    cordoned_first: bool = False

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
        if len(eligible) < self.replicas:
            of_tier = f" of tier {self.tier!r}" if self.tier else ""
            raise FaultError(
                f"expected at least {self.replicas} ready {self.component}"
                f" replica(s){of_tier} to hit, found {len(eligible)}"
                f" ({len(known)} {self.component} replica(s) known in all)"
            )
        limits.check(self.component, self.replicas, len(ready))
        victims = ordered(eligible, self.select, limits.seed)
        if self.cordoned_first:
            closed = {node.name for node in target.nodes() if not node.schedulable}
            victims.sort(key=lambda replica: replica.node not in closed)
        return victims[: self.replicas]


@dataclass(frozen=True, config=STRICT)
class NodeChoice:
    """An intent: how many machines with replicas of a component to hit.

    Attributes:
        component: whose machines.
        nodes: how many.
        tier: only machines with replicas of this tier; None: of any.
        select: `busiest`: those whose replicas serve most requests; `random`.
    """

    component: str = "engine"
    nodes: _AtLeastOne = 1
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
        if len(eligible) < self.nodes:
            of_tier = f" of tier {self.tier!r}" if self.tier else ""
            raise FaultError(
                f"expected at least {self.nodes} schedulable node(s) with ready"
                f" {self.component} replicas{of_tier} to hit, found {len(eligible)}"
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


def as_victims(replicas: list[Replica]) -> list[dict[str, Any]]:
    """Return replicas as a plan's victims."""
    return [asdict(replica) for replica in replicas]


def plan_on(target: Target, choice: Choice, limits: Limits) -> Plan:
    """Return the plan of hitting who is chosen, without an undo: nothing is touched.

    Raises:
        FaultError: fewer are ready than asked for.
        RefusedError: more than the blast radius allows.
    """
    victims = as_victims(choice.resolve(target, limits))
    ready = ready_now(target, choice.component)
    hit = {choice.component: [len(victims), sum(ready.values())]}
    return Plan(victims, before={"ready": ready}, hit=hit)


def as_node(node: Node) -> dict[str, Any]:
    """Return a machine as a plan's victim, or as what its undo names."""
    return {"component": "node", **asdict(node)}
