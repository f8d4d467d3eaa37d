"""Evict replicas: a deletion that the platform's disruption budget may refuse."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.eviction import Asking
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.loss import ReplicaLoss
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, Choice, TimeoutS
from faultload.targets import EVICT_REPLICA, Target


@dataclass(frozen=True, config=STRICT)
class Eviction(Choice):
    """Which replicas to evict, and how long to ask.

    Attributes:
        timeout_s: for all of them together; a refusal is asked again until then.
    """

    timeout_s: TimeoutS = 60.0


class EvictReplica(ReplicaLoss):
    """Evict replicas: each is stopped in order, once the disruption budget allows it.

    It stands for a drain, a cluster's own scaling down, and every other voluntary disruption. On
    Kubernetes it is the Eviction API; locally the platform keeps such a budget of its own. A
    refusal is the budget at work and no error; the evidence counts them. One that lasts until the
    time is up is: nothing was shown but the budget.

    In force when no victim is a ready replica under its planned uid.

    Reverted by the platform alone, as for `kill_replica`: said is whether each tier has as many
    ready replicas as before within 60 s.
    """

    name: ClassVar[str] = "evict_replica"
    capability: ClassVar[str] = EVICT_REPLICA
    intent: ClassVar[type[Eviction]] = Eviction
    over = "the eviction is over"

    def __init__(
        self, target: Target, intent: Eviction = Eviction(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        super().__init__(target, intent, limits)
        self._asking = Asking(target, intent.timeout_s)

    def inject(self, plan: Plan) -> None:
        """Ask for each victim's eviction until it is granted."""
        self._asking.begin()
        for victim in plan.victims:
            name, uid = victim["name"], victim["uid"]
            self._insist_on(victim)
            while not self._asking.ask(name, uid):
                self._asking.pause(f"expected {name} to be evicted")
                self._insist_on(victim)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that every victim is gone, and say how often the budget refused it."""
        return self._asking.evidence(super().verify(plan))

    def _insist_on(self, victim: dict[str, str]) -> None:
        """See that it is still there: a target grants the eviction of what is gone already."""
        found = self._target.replicas(victim["component"])
        if all((one.name, one.uid) != (victim["name"], victim["uid"]) for one in found):
            raise FaultError(
                f"{victim['name']} is gone, or another by now: it was not we who took it away"
            )
