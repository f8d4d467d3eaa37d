"""Interrupt spot machines: notice is given, and then they are taken away."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.machine_loss import names_of, plan_on_machines, prove_ended, say_whole
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.spot_advise import prove_told
from faultload.faults.victims import STRICT, SpotChoice, TimeoutS
from faultload.targets import INTERRUPT_SPOT, Target
from faultload.targets.machine_acts import INTERRUPTION, REBALANCE


@dataclass(frozen=True, config=STRICT)
class Interruption(SpotChoice):
    """Which spot machines to interrupt, and whether advice comes before.

    Attributes:
        rebalance_s: the advice to rebalance comes so many seconds before the notice; None: with
            the notice at the earliest, as the cloud pleases.
        timeout_s: from the first of these until the machines are gone; EC2's notice is 120 s.
    """

    rebalance_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    timeout_s: TimeoutS = 180.0

    @model_validator(mode="after")
    def _notice_has_its_time(self) -> Self:
        if self.notice_timeout_s <= 0:
            raise ValueError("expected timeout_s to be longer than rebalance_s")
        return self

    @property
    def notice_timeout_s(self) -> float:
        """Longest time from the notice until the machines are gone, s."""
        return self.timeout_s - (self.rebalance_s or 0.0)


class InterruptSpot:
    """Take spot machines away, after the notice that the cloud gives them.

    The cloud wants its machine back: EC2 gives two minutes of notice, which each machine reads from
    its own metadata service and which is never taken back. What drains it (Karpenter, a managed
    node group) has that long to move the replicas; what has not left by then ends with it. Only
    machines whose capacity type is spot may be chosen. The local platform plays EC2's part with its
    notice scaled by `time_scale`; on AWS, FIS sends the same signal.

    In force when each machine has itself read the notice, and at its end, or sooner where it was
    drained and let go, is gone with the replicas that it had. The evidence says how long the notice
    was, to the second, and which replicas had not left when their machine ended, where the target
    can tell.

    Reverted there is nothing: a notice stands. Whether the platform has as many ready replicas in
    each tier and as many ready machines as before is said, not asserted.
    """

    name: ClassVar[str] = "interrupt_spot"
    capability: ClassVar[str] = INTERRUPT_SPOT
    intent: ClassVar[type[Interruption]] = Interruption

    def __init__(
        self, target: Target, intent: Interruption = Interruption(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._choice, self._limits = target, intent, limits
        self._given_unix_s = 0.0

    def plan(self) -> Plan:
        """Choose spot machines; the victims are the ready replicas there."""
        chosen = self._choice.resolve(self._target, self._limits)
        return plan_on_machines(self._target, self._choice.component, self._limits, chosen)

    def inject(self, plan: Plan) -> None:
        """Give the advice, if any is to come before, and then the notice."""
        machines = plan.before["machines"]
        if self._choice.rebalance_s is not None:
            for machine in machines:
                self._target.advise_rebalance(machine["name"], machine["uid"])
            prove_told(self._target, plan, REBALANCE)
            time.sleep(self._choice.rebalance_s)
        self._given_unix_s = self._target.now_unix_s()
        for machine in machines:
            self._target.interrupt_spot(machine["name"], machine["uid"])

    def verify(self, plan: Plan) -> Evidence:
        """Prove that the machines have read their notice, and wait until they are gone."""
        told = prove_told(self._target, plan, INTERRUPTION)
        notice_s = max(told.values()) - self._given_unix_s
        ended = prove_ended(self._target, plan, self._choice.notice_timeout_s)
        left, data = self._left(plan)
        text = (
            f"{names_of(plan)} read a notice of {notice_s:.1f} s, and ended"
            f" {ended.data['waited_s']:.1f} s later; {left}"
        )
        return Evidence(text, {**ended.data, "notice_s": notice_s, **data})

    def revert(self, plan: Plan) -> None:
        """Nothing to take back: a notice stands, and the platform replaces what ended."""

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Wait for the end of a notice that stands, then say whether as many are ready as before.

        Raises:
            FaultError: a machine is there still, and is to be taken away.
        """
        machines = {machine["uid"] for machine in plan.before["machines"]}

        def doomed() -> list[str]:
            there = [one.name for one in self._target.nodes() if one.uid in machines and one.ready]
            return [name for name in there if INTERRUPTION in self._target.spot_notices(name)]

        wait_until(
            doomed,
            lambda names: not names,
            self._choice.notice_timeout_s,
            f"{names_of(plan)} to be taken away: the notice stands",
        )
        return say_whole(self._target, plan, "the interruption is over")

    def _left(self, plan: Plan) -> tuple[str, Mapping[str, Any]]:
        """Return whether the replicas had left before their machines ended, in words and data."""
        lost: list[str] = []
        for machine in plan.before["machines"]:
            here = [v["name"] for v in plan.victims if v["node"] == machine["name"]]
            found = self._target.ended_with(machine["name"], machine["uid"], here)
            if found is None:
                return "whether its replicas had left before is not known here", {}
            lost += found
        if lost:
            return f"{', '.join(lost)} had not left before", {"ended_with_machine": lost}
        return "its replicas had left before", {"ended_with_machine": []}
