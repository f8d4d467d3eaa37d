"""Kill engines inside their servers, as the kernel's OOM killer or a fault of the driver would."""

from __future__ import annotations

from typing import ClassVar

from faultload.faults.loss import ReplicaLoss
from faultload.faults.protocol import Plan
from faultload.faults.victims import Choice
from faultload.targets import KILL_ENGINE


class KillEngine(ReplicaLoss):
    """Kill the engine's core alone with SIGKILL; its server is left to notice.

    It stands for the OOM killer taking the engine, or a fault of the driver. The server ends
    streams with an error event where a killed replica cuts them, says 503 at `/health`, and ends
    of its own accord, within its watchdog's 5 s at the latest, to be started again. The API of
    Kubernetes reaches no process inside a pod.

    In force when no victim is a ready replica under its planned uid.

    Reverted by the platform alone, which starts it again: said is whether each tier has as many
    ready replicas as before within 60 s.
    """

    name: ClassVar[str] = "kill_engine"
    capability: ClassVar[str] = KILL_ENGINE
    intent: ClassVar[type[Choice]] = Choice
    over = "the kill is over"

    def inject(self, plan: Plan) -> None:
        """Kill each victim's core."""
        for victim in plan.victims:
            self._target.kill_engine(victim["name"], victim["uid"])
