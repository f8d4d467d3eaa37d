"""Lose machines: their hosts fail, and nobody says so."""

from __future__ import annotations

from typing import ClassVar

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.machine_loss import NOTICED_S, plan_on_machines, prove_ended, say_whole
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import NodeChoice
from faultload.targets import LOSE_NODE, Target


class LoseNode:
    """End machines at once, and everything on them, as a failing host does.

    Power, a hypervisor, a kernel panic: the machine neither answers nor says goodbye. Connections
    to it hang instead of being refused, and its node and the readiness of its replicas stay as
    last heard until its heartbeat is missed; only then does a control plane place replacements.
    Here the local platform kills the processes and drops every packet to them. On AWS it is an
    instance that is terminated without a drain.

    In force when no victim machine is ready any more under its planned uid, and none of the ready
    replicas that it had is: the platform has noticed, which takes as long as a missed heartbeat.
    Users feel it from the first moment, and the request rows show that.

    Reverted there is nothing: a host that failed does not come back. Whether the platform has as
    many ready replicas in each tier and as many ready machines as before is said, not asserted.
    """

    name: ClassVar[str] = "lose_node"
    capability: ClassVar[str] = LOSE_NODE
    intent: ClassVar[type[NodeChoice]] = NodeChoice

    def __init__(
        self, target: Target, intent: NodeChoice = NodeChoice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._choice, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the machines; the victims are the ready replicas there."""
        chosen = self._choice.resolve(self._target, self._limits)
        return plan_on_machines(self._target, self._choice.component, self._limits, chosen)

    def inject(self, plan: Plan) -> None:
        """End each machine."""
        for machine in plan.before["machines"]:
            self._target.lose_node(machine["name"], machine["uid"])

    def verify(self, plan: Plan) -> Evidence:
        """Prove that the machines have ended, and that their replicas are not ready."""
        return prove_ended(self._target, plan, NOTICED_S)

    def revert(self, plan: Plan) -> None:
        """Nothing to take back: the platform replaces what ended."""

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Say whether as many replicas and machines are ready as before."""
        return say_whole(self._target, plan, "the machine is lost")
