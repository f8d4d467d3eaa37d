"""Kill replicas at once, as a crash or the kernel's OOM killer would."""

from __future__ import annotations

from typing import ClassVar

from faultload.errors import FaultError
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import (
    Choice,
    as_victims,
    prove_restored,
    prove_unready,
    ready_now,
)
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
    intent: ClassVar[type[Choice]] = Choice

    def __init__(
        self, target: Target, intent: Choice = Choice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._intent, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims."""
        victims = as_victims(self._intent.resolve(self._target, self._limits))
        return Plan(victims, before={"ready": ready_now(self._target, self._intent.component)})

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
            return prove_restored(self._target, plan, _RETURN_TIMEOUT_S)
        except FaultError as error:
            return Evidence(f"the kill is over, and the platform did not heal: {error}")
