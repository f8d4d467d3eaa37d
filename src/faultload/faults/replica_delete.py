"""Delete replicas in order, as `kubectl delete pod` and every rollout do."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.loss import ReplicaLoss
from faultload.faults.protocol import Plan
from faultload.faults.victims import STRICT, Choice
from faultload.targets import DELETE_REPLICA, Target


@dataclass(frozen=True, config=STRICT)
class Deletion(Choice):
    """Which replicas to delete, and how long each may take to end.

    Attributes:
        grace_s: until it is killed; None: its own grace period; 0: at once.
    """

    grace_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] | None = None


class DeleteReplica(ReplicaLoss):
    """Delete replicas: each leaves the endpoints and may finish what it has begun.

    It stands for `kubectl delete pod`, and for every replica that a rollout replaces. Locally the
    replica gets SIGTERM, and SIGKILL when its grace is over; on Kubernetes the pod is deleted with
    its own grace period or the one given, of at least a second.

    In force when no victim is a ready replica under its planned uid; it may still be serving open
    streams then.

    Reverted by the platform alone, as for `kill_replica`: said is whether each tier has as many
    ready replicas as before within 60 s.
    """

    name: ClassVar[str] = "delete_replica"
    capability: ClassVar[str] = DELETE_REPLICA
    intent: ClassVar[type[Deletion]] = Deletion
    over = "the deletion is over"

    def __init__(
        self, target: Target, intent: Deletion = Deletion(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        super().__init__(target, intent, limits)
        self._grace_s = intent.grace_s

    def inject(self, plan: Plan) -> None:
        """Begin to stop each victim."""
        for victim in plan.victims:
            self._target.delete_replica(victim["name"], victim["uid"], self._grace_s)
