"""Kill replicas at once, as a crash or the kernel's OOM killer would."""

from __future__ import annotations

from typing import ClassVar

from faultload.faults.loss import ReplicaLoss
from faultload.faults.protocol import Plan
from faultload.faults.victims import Choice
from faultload.targets import KILL_REPLICA


class KillReplica(ReplicaLoss):
    """Kill replicas of a component with SIGKILL: open streams are cut, nothing is drained.

    It stands for a crash, the kernel's OOM killer, or a host that dies. Locally the replica's
    processes get SIGKILL; on Kubernetes the pod is deleted with a grace of 0, so that the API
    forgets it at once and its kubelet ends the processes a second or so later.

    In force when no victim is a ready replica under its planned uid.

    Reverted by the platform alone, which replaces what ended: there is nothing to take back. Said
    is whether each tier has as many ready replicas as before within 60 s; a platform that does not
    heal is for the judge, and makes no run invalid.
    """

    name: ClassVar[str] = "kill_replica"
    capability: ClassVar[str] = KILL_REPLICA
    intent: ClassVar[type[Choice]] = Choice
    over = "the kill is over"

    def inject(self, plan: Plan) -> None:
        """Kill each victim."""
        for victim in plan.victims:
            self._target.kill_replica(victim["name"], victim["uid"])
