"""Losing replicas: what every fault that ends them shares."""

from __future__ import annotations

from typing import ClassVar

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import prove_unready, say_restored
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import Choice, plan_on
from faultload.targets import Target


class ReplicaLoss:
    """Victims end, in whatever way `inject` of a fault ends them.

    There is nothing to take back: the harm is over when the victim is gone. We wait for the
    replacements, and a platform that brings none has not kept its claim: that is for the judge to
    say, who sees what users saw, and no reason to call the run invalid.
    """

    over: ClassVar[str]
    """What is said beside a platform that does not heal: `the kill is over`."""
    effect_timeout_s: ClassVar[float] = 10.0
    return_timeout_s: ClassVar[float] = 60.0

    def __init__(
        self, target: Target, intent: Choice = Choice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._choice, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims."""
        return plan_on(self._target, self._choice, self._limits)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that every victim is gone: its uid no longer is a ready replica."""
        return prove_unready(self._target, plan, self.effect_timeout_s)

    def revert(self, plan: Plan) -> None:
        """Nothing to take back: the platform replaces what ended."""

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Say whether each tier has as many ready as before; waits for it within a bound."""
        return say_restored(self._target, plan, self.return_timeout_s, self.over)
