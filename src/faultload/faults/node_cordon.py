"""Cordon nodes: what runs there stays, and nothing new comes."""

from __future__ import annotations

from typing import Any, ClassVar

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import NodeChoice, as_node
from faultload.targets import CORDON_NODE, Target

_TIMEOUT_S = 30.0


class CordonNode:
    """Keep new replicas away from nodes: no harm of its own until something must move.

    It stands for the first half of every maintenance: `kubectl cordon`, `spec.unschedulable` on
    Kubernetes, a machine that takes no replica locally. A node that was cordoned already is no
    victim: its cordon is not ours to take back.

    In force when no new replica may come to any of the nodes.

    Reverted by taking our own cordon off. Proven is that new replicas may come to each node that
    still is there.
    """

    name: ClassVar[str] = "cordon_node"
    capability: ClassVar[str] = CORDON_NODE
    intent: ClassVar[type[NodeChoice]] = NodeChoice

    def __init__(
        self, target: Target, intent: NodeChoice = NodeChoice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._choice, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the nodes."""
        chosen = self._choice.resolve(self._target, self._limits)
        nodes = [as_node(node) for node, _ in chosen]
        return Plan(victims=nodes, undo={"uncordon": nodes})

    def inject(self, plan: Plan) -> None:
        """Cordon each node."""
        cordon(self._target, plan)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that no new replica may come to any of them."""
        return prove_schedulable(self._target, plan, wanted=False)

    def revert(self, plan: Plan) -> None:
        """Take our cordon off each node."""
        uncordon(self._target, plan)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that new replicas may come to each of them that still is there."""
        return prove_schedulable(self._target, plan, wanted=True)


def cordon(target: Target, plan: Plan) -> None:
    """Cordon the nodes that a plan's undo names.

    Raises:
        FaultError: one is gone, or another by now.
    """
    for node in plan.undo["uncordon"]:
        target.cordon_node(node["name"], node["uid"], plan.mark)


def uncordon(target: Target, plan: Plan) -> None:
    """Take the plan's own cordon off the nodes that its undo names."""
    for node in plan.undo["uncordon"]:
        target.uncordon_node(node["name"], node["uid"], plan.token)


def prove_schedulable(target: Target, plan: Plan, *, wanted: bool) -> Evidence:
    """Wait until the plan's nodes take new replicas, or none do.

    A node that is gone, or was replaced by one of the same name, took its cordon along.

    Raises:
        FaultError: not within the bound.
    """
    names = ", ".join(node["name"] for node in plan.undo["uncordon"])
    uids = {node["uid"] for node in plan.undo["uncordon"]}

    def look() -> list[dict[str, Any]]:
        return [as_node(node) for node in target.nodes() if node.uid in uids]

    def holds(seen: list[dict[str, Any]]) -> bool:
        there = wanted or {node["uid"] for node in seen} == uids
        return there and all(node["schedulable"] is wanted for node in seen)

    what = "open to new replicas" if wanted else "closed to new replicas"
    seen, waited_s = wait_until(look, holds, _TIMEOUT_S, f"{names} to be {what}")
    gone = "" if len(seen) == len(uids) else f"; {len(uids) - len(seen)} of them gone"
    return Evidence(f"{names} {what}{gone}", {"waited_s": waited_s, "nodes": seen})
