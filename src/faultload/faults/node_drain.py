"""Drain nodes: cordon them and evict what runs there, as `kubectl drain` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.eviction import Asking
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.node_cordon import cordon, prove_schedulable, uncordon
from faultload.faults.proofs import ready_now, say_restored
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, NodeChoice, TimeoutS, as_node, check_others
from faultload.targets import DRAIN_NODE, Node, Occupant, Replica, Target

_RETURN_TIMEOUT_S = 60.0


@dataclass(frozen=True, config=STRICT)
class Drain(NodeChoice):
    """Which nodes to drain, and how long that may take.

    Attributes:
        timeout_s: until the last occupant is gone; refused evictions are asked again until then.
    """

    timeout_s: TimeoutS = 120.0


class DrainNode:
    """Drain nodes: cordon each, and evict what was there when it was planned.

    It stands for maintenance and for a cluster that scales down, and does what `kubectl drain`
    does: a cordon, then evictions, asked again while a disruption budget refuses them. What belongs
    to the node is left alone. What forbids a drain makes the plan fail: evicting the rest would be
    half a drain. Other components on the nodes are hit, too, and count against their own blast
    radius.

    In force when the nodes take no new replicas and everybody planned has left.

    Reverted by taking our own cordon off; what was evicted does not move back. Proven is that the
    nodes take replicas again, and said whether each tier has as many ready as before within 60 s.
    """

    name: ClassVar[str] = "drain_node"
    capability: ClassVar[str] = DRAIN_NODE
    intent: ClassVar[type[Drain]] = Drain

    def __init__(self, target: Target, intent: Drain = Drain(), limits: Limits = NO_LIMITS) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._choice, self._limits = target, intent, limits
        self._asking = Asking(target, intent.timeout_s)

    def plan(self) -> Plan:
        """Choose the nodes; the victims are all that will have to go."""
        component = self._choice.component
        chosen = self._choice.resolve(self._target, self._limits)
        found = [(node, one) for node, _ in chosen for one in self._target.occupants(node.name)]
        forbidden = [
            f"{one.name} on {node.name} ({one.forbids})" for node, one in found if one.forbids
        ]
        if forbidden:
            raise FaultError(f"cannot be drained: {'; '.join(forbidden)}")
        going = [(node, one) for node, one in found if not one.stays]
        ready = ready_now(self._target, component)
        hit = {component: [sum(len(on) for _, on in chosen), sum(ready.values())]}
        leaving = [one for _, one in going]
        others = check_others(self._target, self._limits, component, leaving)
        return Plan(
            victims=self._described(going),
            undo={"uncordon": [as_node(node) for node, _ in chosen]},
            before={
                "ready": ready,
                "stays": [{"name": one.name, "why": one.stays} for _, one in found if one.stays],
            },
            hit=hit | others,
        )

    def inject(self, plan: Plan) -> None:
        """Cordon the nodes, then ask for evictions until everybody planned is gone."""
        self._asking.begin()
        cordon(self._target, plan)
        granted: set[tuple[str, str]] = set()
        while left := self._left(plan):
            for one in left:
                if (one.name, one.uid) not in granted and self._asking.ask(one.name, one.uid):
                    granted.add((one.name, one.uid))
            names = ", ".join(one.name for one in left)
            self._asking.pause(f"expected {names} to have left")

    def verify(self, plan: Plan) -> Evidence:
        """Prove that the nodes take nobody, and that everybody planned has left."""
        closed = prove_schedulable(self._target, plan, wanted=False)
        if left := self._left(plan):
            names = ", ".join(one.name for one in left)
            raise FaultError(f"expected everybody planned to have left; still there: {names}")
        gone = ", ".join(victim["name"] for victim in plan.victims)
        stays = "".join(f"; {one['name']} stays: {one['why']}" for one in plan.before["stays"])
        return self._asking.evidence(Evidence(f"{closed.text}; {gone} left{stays}", closed.data))

    def revert(self, plan: Plan) -> None:
        """Take our cordon off each node."""
        uncordon(self._target, plan)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that the nodes take replicas again, and say whether the platform has healed.

        Raises:
            FaultError: a node is still cordoned.
        """
        opened = prove_schedulable(self._target, plan, wanted=True)
        # What is none of the target's components has no readiness that we could see.
        ours = replace(plan, victims=[one for one in plan.victims if one["component"]])
        healed = say_restored(self._target, ours, _RETURN_TIMEOUT_S, "the drain is over")
        return Evidence(f"{opened.text}; {healed.text}", {**opened.data, **healed.data})

    def _left(self, plan: Plan) -> list[Occupant]:
        """Return the planned who still are there.

        By name: a process that was started again in place has another uid and has not left.
        """
        planned = {(victim["node"], victim["name"]) for victim in plan.victims}
        return [
            one
            for node in plan.undo["uncordon"]
            for one in self._target.occupants(node["name"])
            if (node["name"], one.name) in planned
        ]

    def _described(self, going: Sequence[tuple[Node, Occupant]]) -> list[dict[str, Any]]:
        known: Mapping[str, Replica] = {
            replica.name: replica
            for component in sorted({one.component for _, one in going if one.component})
            for replica in self._target.replicas(component)
        }
        return [
            asdict(known[one.name])
            if one.name in known
            else {
                "component": one.component,
                "name": one.name,
                "uid": one.uid,
                "tier": "",
                "node": node.name,
            }
            for node, one in going
        ]
