"""Kill replicas at once, as a crash or the kernel's OOM killer would."""

from __future__ import annotations

from typing import ClassVar

from faultload.errors import FaultError
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import Choice, as_victims, prove_ready, prove_unready
from faultload.targets import KILL_REPLICA, Target

_EFFECT_TIMEOUT_S = 10.0
_RETURN_TIMEOUT_S = 60.0


class KillReplica:
    """Kill replicas of a component with SIGKILL: open streams are cut, nothing is drained.

    There is nothing to take back: a kill is over when the process is dead. We wait for the
    replacements, and a platform that brings none has not kept its claim: that is for the judge to
    say, who sees what users saw, and no reason to call the run invalid.
    """

    name: ClassVar[str] = "kill_replica"
    capability: ClassVar[str] = KILL_REPLICA

    def __init__(self, target: Target, choice: Choice = Choice()) -> None:
        """Hit what `choice` says on `target`."""
        self._target, self._choice = target, choice

    def plan(self) -> Plan:
        """Choose the victims."""
        return Plan(victims=as_victims(self._choice.resolve(self._target)))

    def inject(self, plan: Plan) -> None:
        """Kill each victim."""
        for victim in plan.victims:
            self._target.kill_replica(victim["name"], victim["uid"])

    def verify(self, plan: Plan) -> Evidence:
        """Prove that every victim is gone: its uid no longer is a ready replica."""
        return prove_unready(self._target, plan, _EFFECT_TIMEOUT_S)

    def revert(self, plan: Plan) -> None:
        """Nothing to take back: the platform replaces what died."""

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Say whether each victim's name is ready again; waits for it within a bound."""
        try:
            return prove_ready(self._target, plan, _RETURN_TIMEOUT_S)
        except FaultError as error:
            return Evidence(f"the kill is over, and the platform did not heal: {error}")
