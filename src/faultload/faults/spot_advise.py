"""Advise spot machines to rebalance: they are at risk, and that is all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.machine_loss import names_of, plan_on_machines, say_whole
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import SpotChoice
from faultload.targets import INTERRUPT_SPOT, Target
from faultload.targets.machine_acts import REBALANCE

_TOLD_S = 10.0


class AdviseRebalance:
    """Tell spot machines that they are at risk, and take none away.

    EC2's rebalance recommendation comes before a spot notice, together with it, or with no notice
    to follow. Managed node groups move everything at once when they hear it; Karpenter and the
    local platform's `spot.drain_on_rebalance: false` do nothing. So what a platform makes of it is
    what is tried; the replicas on the machine count as hit, since a platform may move them.

    In force when each machine has itself read the advice from its own metadata service.

    Reverted there is nothing: advice is not taken back, and harms nobody by itself. Whether the
    platform has as many ready replicas in each tier and as many ready machines as before is said,
    not asserted.
    """

    name: ClassVar[str] = "advise_rebalance"
    capability: ClassVar[str] = INTERRUPT_SPOT
    intent: ClassVar[type[SpotChoice]] = SpotChoice

    def __init__(
        self, target: Target, intent: SpotChoice = SpotChoice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Advise whom `intent` says on `target`, within `limits`."""
        self._target, self._choice, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose spot machines; the victims are the ready replicas there."""
        chosen = self._choice.resolve(self._target, self._limits)
        return plan_on_machines(self._target, self._choice.component, self._limits, chosen)

    def inject(self, plan: Plan) -> None:
        """Advise each machine."""
        for machine in plan.before["machines"]:
            self._target.advise_rebalance(machine["name"], machine["uid"])

    def verify(self, plan: Plan) -> Evidence:
        """Prove that the machines have read it."""
        told = prove_told(self._target, plan, REBALANCE)
        return Evidence(f"{names_of(plan)} read the advice to rebalance", {"advised_unix_s": told})

    def revert(self, plan: Plan) -> None:
        """Nothing to take back."""

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Say whether as many replicas and machines are ready as before."""
        return say_whole(self._target, plan, "the advice was given")


def prove_told(target: Target, plan: Plan, kind: str) -> Mapping[str, float]:
    """Wait until each planned machine itself reads a notice; return its time by machine, Unix s.

    Raises:
        FaultError: not within the bound.
    """
    names = [machine["name"] for machine in plan.before["machines"]]
    told, _ = wait_until(
        lambda: {name: target.spot_notices(name) for name in names},
        lambda seen: all(kind in notices for notices in seen.values()),
        _TOLD_S,
        f"{names_of(plan)} to read its {kind} notice",
    )
    return {name: notices[kind] for name, notices in told.items()}
