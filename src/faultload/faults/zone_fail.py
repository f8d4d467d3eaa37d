"""Fail a zone: every machine in it ends, and none can be launched there."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.capacity_withhold import prove_offered, prove_withheld
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.machine_loss import NOTICED_S, plan_on_machines, prove_ended, say_whole
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, Select, ordered_places
from faultload.targets import FAIL_ZONE, Capacity, Node, Replica, Target


@dataclass(frozen=True, config=STRICT)
class ZoneChoice:
    """An intent: the one zone with replicas of a component to hit.

    Attributes:
        component: whose zone.
        tier: only a zone with replicas of this tier; None: of any.
        select: `busiest`: the one whose replicas serve most requests; `random`.
    """

    component: str = "engine"
    tier: str | None = None
    select: Select = "busiest"

    @property
    def hits(self) -> int | None:
        """Only the target knows how many replicas a zone has."""
        return None

    def resolve(
        self, target: Target, limits: Limits
    ) -> tuple[str, list[tuple[Node, list[Replica]]]]:
        """Return the zone, and each of its machines with the component's ready replicas there.

        Raises:
            FaultError: no zone is known to have such replicas.
            RefusedError: more than the blast radius allows.
        """
        ready = [replica for replica in target.replicas(self.component) if replica.ready]
        zones = {r.zone for r in ready if r.zone and self.tier in (None, r.tier)}
        if not zones:
            of_tier = f" of tier {self.tier!r}" if self.tier else ""
            raise FaultError(
                f"expected a zone with ready {self.component} replicas{of_tier} to hit, found none"
                f" ({len(ready)} ready {self.component} replica(s) known in all)"
            )
        on = {zone: [r for r in ready if r.zone == zone] for zone in sorted(zones)}
        zone = ordered_places(on, self.select, limits.seed)[0]
        limits.check(self.component, len(on[zone]), len(ready))
        machines = [node for node in target.nodes() if node.zone == zone and node.ready]
        return zone, [(one, [r for r in on[zone] if r.node == one.name]) for one in machines]


class FailZone:
    """End every machine of a zone at once, and let the cloud launch none there.

    A data centre's power, cooling or network: what ran in that zone is gone as with `lose_node`,
    and the zone's capacity with it, so that replacements must come up elsewhere. On the local
    platform the zone's machines end and launches there are refused; on AWS this is a game day of
    its own, in FIS's scenario library.

    In force when the cloud says that it launches nothing in the zone, no machine that was there is
    ready under its planned uid, and none of the ready replicas that they had is.

    Reverted by letting machines be launched there again; that the cloud refuses them no longer is
    proven. The machines that ended stay lost: whether as many replicas in each tier and as many
    machines are ready as before is said, not asserted.
    """

    name: ClassVar[str] = "fail_zone"
    capability: ClassVar[str] = FAIL_ZONE
    intent: ClassVar[type[ZoneChoice]] = ZoneChoice

    def __init__(
        self, target: Target, intent: ZoneChoice = ZoneChoice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._choice, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the zone; the victims are the component's ready replicas there."""
        zone, chosen = self._choice.resolve(self._target, self._limits)
        if Capacity(zone=zone) in self._target.withheld():
            raise FaultError(f"zone {zone} is withheld already: giving it back is not ours to do")
        plan = plan_on_machines(self._target, self._choice.component, self._limits, chosen)
        return replace(plan, undo={"zone": zone}, whom=f"zone {zone}: {plan.whom}")

    def inject(self, plan: Plan) -> None:
        """Take the zone away."""
        self._target.fail_zone(plan.undo["zone"], plan.mark)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that nothing is launched there, and that what was there has ended."""
        zone = plan.undo["zone"]
        prove_withheld(self._target, Capacity(zone=zone))
        ended = prove_ended(self._target, plan, NOTICED_S)
        return Evidence(f"zone {zone} launches no machine; {ended.text}", ended.data)

    def revert(self, plan: Plan) -> None:
        """Let machines be launched there again."""
        self._target.restore_zone(plan.undo["zone"], plan.token)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that they may be, and say whether as many replicas and machines are ready.

        Raises:
            FaultError: the zone is withheld still.
        """
        zone = plan.undo["zone"]
        prove_offered(self._target, Capacity(zone=zone))
        whole = say_whole(self._target, plan, "the outage is over")
        return Evidence(f"zone {zone} launches machines again; {whole.text}", whole.data)
