"""Kill engines inside their servers, as the kernel's OOM killer or a fault of the driver would."""

from __future__ import annotations

from typing import ClassVar

from faultload.faults.loss import ReplicaLoss
from faultload.faults.protocol import Plan
from faultload.faults.victims import Choice
from faultload.targets import KILL_ENGINE


class KillEngine(ReplicaLoss):
    """Kill the engine's core alone with SIGKILL.

    Its server notices: streams end with an error event instead of a cut, `/health` says 503, and
    the server ends of its own accord, within its watchdog's 5 s at the latest, to be started again.
    """

    name: ClassVar[str] = "kill_engine"
    capability: ClassVar[str] = KILL_ENGINE
    intent: ClassVar[type[Choice]] = Choice
    over = "the kill is over"

    def inject(self, plan: Plan) -> None:
        """Kill each victim's core."""
        for victim in plan.victims:
            self._target.kill_engine(victim["name"], victim["uid"])
