"""Choosing victims: intents, resolved on what the target has now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.limits import Limits
from faultload.faults.proofs import ready_now
from faultload.faults.protocol import Plan
from faultload.targets import Node, Occupant, Replica, Target, Workload
from faultload.targets.machine_acts import SPOT

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
    capacity_type: ClassVar[str] = ""
    """Only machines of this one; "": of any."""

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
        eligible = self._eligible(target, ready)
        on = {name: [r for r in ready if r.node == name] for name in eligible}
        chosen = ordered_places(on, self.select, limits.seed)[: self.nodes]
        limits.check(self.component, sum(len(on[name]) for name in chosen), len(ready))
        return [(eligible[name], on[name]) for name in chosen]

    def _eligible(self, target: Target, ready: Sequence[Replica]) -> dict[str, Node]:
        of_kind = f"{self.capacity_type} " if self.capacity_type else ""
        of_tier = f" of tier {self.tier!r}" if self.tier else ""
        known = target.nodes()
        wanted = {r.node for r in ready if self.tier is None or r.tier == self.tier}
        found = {
            node.name: node
            for node in known
            if node.name in wanted
            and node.schedulable
            and self.capacity_type in ("", node.capacity_type)
        }
        if len(found) < self.nodes:
            types = ", ".join(f"{n.name}: {n.capacity_type or 'unknown'}" for n in known)
            raise FaultError(
                f"expected at least {self.nodes} schedulable {of_kind}node(s) with ready"
                f" {self.component} replicas{of_tier} to hit, found {len(found)}"
                + (f" (capacity types: {types or 'no nodes'})" if of_kind else "")
            )
        return found


@dataclass(frozen=True, config=STRICT)
class SpotChoice(NodeChoice):
    """An intent: how many spot machines with replicas of a component to hit."""

    capacity_type: ClassVar[str] = SPOT


def ordered_places(on: Mapping[str, Sequence[Replica]], select: Select, seed: int) -> list[str]:
    """Return machines or zones, given with their replicas, in the order they are hit."""
    names = list(on)
    shuffled = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    if select == "busiest":
        shuffled.sort(key=lambda name: -sum(r.inflight or 0 for r in on[name]))
    return shuffled


def ordered(replicas: Sequence[Replica], select: Select, seed: int) -> list[Replica]:
    """Return replicas in the order they are hit."""
    by_name = {replica.name: replica for replica in replicas}
    order = ordered_places({name: [one] for name, one in by_name.items()}, select, seed)
    return [by_name[name] for name in order]


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


def check_others(
    target: Target, limits: Limits, component: str, going: Sequence[Occupant]
) -> dict[str, list[int]]:
    """Hold the limits for components that are hit because they live on the same machine.

    Returns:
        What they add to `Plan.hit`.

    Raises:
        RefusedError: more than the blast radius allows.
    """
    found = {}
    for other in sorted({one.component for one in going} - {component, ""}):
        ready = {one.name for one in target.replicas(other) if one.ready}
        hit = sum(one.component == other and one.name in ready for one in going)
        limits.check(other, hit, len(ready))
        found[other] = [hit, len(ready)]
    return found


def as_node(node: Node) -> dict[str, Any]:
    """Return a machine as a plan's victim, or as what its undo names."""
    return {"component": "node", **asdict(node)}


def only_workload(target: Target, component: str, tier: str | None) -> Workload:
    """Return what keeps the replicas of a component, or of one of its tiers.

    Raises:
        FaultError: there is none, or more than one.
    """
    found = target.workloads(component, tier)
    if len(found) == 1:
        return found[0]
    of_tier = f" of tier {tier!r}" if tier else ""
    names = ", ".join(f"{one.name} (tier {one.tier!r})" for one in found) or "none"
    raise FaultError(
        f"expected one workload of {component}{of_tier}, found {names}; name one with 'tier'"
    )
