"""Scale a component or tier, as a person or a pipeline does, and set it back."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, TimeoutS, only_workload
from faultload.targets import SCALE, Target, Workload

_RETURN_TIMEOUT_S = 60.0


@dataclass(frozen=True, config=STRICT)
class Size:
    """An intent: how many replicas a component, or one of its tiers, is to have.

    Attributes:
        replicas: that many; 0 takes it away altogether, where the blast radius allows that.
        component, tier: whose replicas. None: the component must have one workload only.
        timeout_s: until so many are ready.
    """

    replicas: Annotated[int, Field(ge=0, le=10_000)]
    component: str = "engine"
    tier: str | None = None
    timeout_s: TimeoutS = 60.0

    @property
    def hits(self) -> int | None:
        """Only the target knows how many there are to go."""
        return None


class ScaleTo:
    """Have one workload keep another number of replicas; its platform chooses which go.

    It stands for a person or a pipeline that scales the wrong thing, or to the wrong number. On
    Kubernetes it is `spec.replicas` of a Deployment or StatefulSet, locally a tier's number.
    Refused where an autoscaler owns the number: it would undo the change at once, and the run would
    be about that race.

    In force when the workload is to have that many and that many are ready.

    Reverted by setting the number back, if it is still ours. Proven is that the workload is to have
    what it had; said is whether as many are ready as before within 60 s. A workload that is gone
    took the change along.
    """

    name: ClassVar[str] = "scale_to"
    capability: ClassVar[str] = SCALE
    intent: ClassVar[type[Size]] = Size

    def __init__(
        self, target: Target, intent: Size = Size(replicas=1), limits: Limits = NO_LIMITS
    ) -> None:
        """Change what `intent` says on `target`, within `limits`."""
        self._target, self._size, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Find the workload; nobody knows yet which replicas will go."""
        size = self._size
        workload = self._workload()
        if workload.scaled_by:
            raise FaultError(
                f"{workload.name} is scaled by {workload.scaled_by}, which would undo the change at"
                " once; pause the autoscaler, or choose a tier that has none"
            )
        if workload.wanted == size.replicas:
            raise FaultError(f"{workload.name} is to have {size.replicas} already: nothing changes")
        known = [one for one in self._target.replicas(size.component) if one.ready]
        ready = sum(_is_of(workload.tier, one.tier) for one in known)
        # Whoever chooses may take the ready ones and leave those that still start.
        going = min(ready, max(ready, workload.wanted) - size.replicas)
        going = max(0, going)
        self._limits.check(size.component, going, len(known))
        of = f" of tier {workload.tier}" if workload.tier else f" of {size.component}"
        return Plan(
            victims=[],
            undo={
                "workload": workload.name,
                "uid": workload.uid,
                "replicas": workload.wanted,
            },
            before={
                "ready": ready,
                "component": size.component,
                "tier": workload.tier,
                "to": size.replicas,
            },
            hit={size.component: [going, len(known)]},
            whom=f"{going} of {ready} ready replicas{of}, chosen by the platform"
            if going
            else f"nobody: {workload.name} grows from {workload.wanted} to {size.replicas}",
        )

    def inject(self, plan: Plan) -> None:
        """Set the number."""
        undo, wanted = plan.undo, plan.before["to"]
        self._target.set_scale(undo["workload"], undo["uid"], wanted, plan.mark)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that the workload is to have that many, and that as many are ready."""
        wanted = plan.before["to"]

        def holds(seen: dict[str, Any]) -> bool:
            return bool(seen["wanted"] == wanted == seen["ready"])

        name = plan.undo["workload"]
        expected = f"{name} to have {wanted} replicas, all ready"
        seen, waited_s = wait_until(lambda: self._look(plan), holds, self._size.timeout_s, expected)
        text = f"{name} has {wanted} ready after {waited_s:.2f} s, {plan.before['ready']} before"
        return Evidence(text, {"waited_s": waited_s, **seen})

    def revert(self, plan: Plan) -> None:
        """Set the number back, if it is still ours."""
        undo, token = plan.undo, plan.token
        self._target.restore_scale(undo["workload"], undo["uid"], token, undo["replicas"])

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that the number is what it was, and say whether as many are ready again.

        A workload that is gone took the change along, and somebody else's number is left alone.

        Raises:
            FaultError: it is to have the number that we set still.
        """
        name, wanted, ready = plan.undo["workload"], plan.undo["replicas"], plan.before["ready"]
        seen, _ = wait_until(
            lambda: self._look(plan),
            lambda seen: seen["wanted"] in (None, wanted) or seen["wanted"] != plan.before["to"],
            _RETURN_TIMEOUT_S,
            f"{name} to be set back to {wanted} replicas",
        )
        if seen["wanted"] is None:
            return Evidence(f"{name} is gone, and the change with it", seen)
        if seen["wanted"] != wanted:
            text = f"{name} is to have {seen['wanted']} by now, which is somebody else's number"
            return Evidence(text, seen)
        try:
            seen, waited_s = wait_until(
                lambda: self._look(plan),
                lambda seen: bool(seen["ready"] >= ready),
                _RETURN_TIMEOUT_S,
                f"{name} to have {ready} ready replicas",
            )
        except FaultError as error:
            text = f"{name} is set back to {wanted}, and the platform did not heal: {error}"
            return Evidence(text, {**seen, "healed": False})
        text = f"{name} is set back to {wanted}, {seen['ready']} ready after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, **seen})

    def _workload(self) -> Workload:
        return only_workload(self._target, self._size.component, self._size.tier)

    def _find(self, plan: Plan) -> Workload | None:
        # Of any tier: somebody may have given it another meanwhile, and it is the same still.
        known = self._target.workloads(plan.before["component"], None)
        undo = plan.undo
        same = [one for one in known if (one.name, one.uid) == (undo["workload"], undo["uid"])]
        return same[0] if same else None

    def _look(self, plan: Plan) -> dict[str, Any]:
        """Return what the workload is to have, None when it is gone, and how many are ready."""
        found, tier = self._find(plan), plan.before["tier"]
        known = self._target.replicas(plan.before["component"])
        ready = sum(one.ready and _is_of(tier, one.tier) for one in known)
        return {"wanted": found.wanted if found else None, "ready": ready}


def _is_of(tier: str, found: str) -> bool:
    """Say whether a replica of tier `found` is kept by a workload of `tier`; "": of any."""
    return tier in ("", found)
