"""Kill replicas at once, as a crash or the kernel's OOM killer would."""

from __future__ import annotations

from typing import ClassVar

from faultload.faults.loss import ReplicaLoss
from faultload.faults.protocol import Plan
from faultload.faults.victims import Choice
from faultload.targets import KILL_REPLICA


class KillReplica(ReplicaLoss):
    """Kill replicas of a component with SIGKILL: open streams are cut, nothing is drained."""

    name: ClassVar[str] = "kill_replica"
    capability: ClassVar[str] = KILL_REPLICA
    intent: ClassVar[type[Choice]] = Choice
    over = "the kill is over"

    def inject(self, plan: Plan) -> None:
        """Kill each victim."""
        for victim in plan.victims:
            self._target.kill_replica(victim["name"], victim["uid"])
