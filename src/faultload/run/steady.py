"""Between experiments: wait until the target is as it was before the first one.

No fixed sleep: a pause too short has the next experiment measure what the last one left, and one
long enough for the slowest platform wastes everybody's time on all others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from faultload.errors import FaultError, RefusedError
from faultload.faults.proofs import wait_until
from faultload.run.plan import RunPlan
from faultload.run.state import refuse_if_harmed
from faultload.spec.gameday import COOLDOWN_S_MAX
from faultload.targets import SCALE, Target, TargetLock, state_home


@dataclass(frozen=True)
class _Kept:
    """What keeps a tier's replicas: how many it is to have, and whether an autoscaler says so."""

    wanted: int
    scaled: bool


class SteadyState:
    """What one target was like before the first experiment, and the wait until it is so again.

    It is, when each tier has as many ready replicas and none that is not ready (a tier that an
    autoscaler owns: as many as it is to have), no machine is closed or down that was not, the cloud
    withholds nothing that it offered, and nothing is left to be undone.
    """

    def __init__(self, target: Target, timeout_s: float = COOLDOWN_S_MAX) -> None:
        """Nothing is asked before `wait`; each wait is bounded by `timeout_s`."""
        self._target, self._timeout_s = target, timeout_s
        self._ready: dict[str, Counter[str]] = {}
        self._closed: set[str] | None = None
        self._withheld: set[str] | None = None
        self._sees_workloads: bool | None = None

    def wait(self, plan: RunPlan, pause_s: float = 0.0) -> float:
        """Wait for what `plan` and all before it hit; return how long that took, s.

        What is met for the first time has to be whole: that is how it is remembered.

        Args:
            plan: what runs next.
            pause_s: the shortest wait.

        Raises:
            RefusedError: not within the bound, with what was last seen; or a run is going on, or a
                fault is in force.
            MissingError: the target is gone.
        """
        fingerprint = self._target.identity.fingerprint
        # A fault of a run that is going on is that run's to undo, so its name comes first. Nobody
        # but `faultload recover` undoes what a dead one left: waiting would not help.
        with TargetLock(state_home() / fingerprint, "a run about to begin"):
            refuse_if_harmed(fingerprint)
        time.sleep(pause_s)
        components = {*self._ready, *(one.component for one in plan.experiment.block.blast_radius)}
        expected = f"target {plan.target.name!r} to be steady before {plan.experiment.name}"
        try:
            _, waited_s = wait_until(
                lambda: "; ".join(self._differences(components)),
                lambda seen: not seen,
                self._timeout_s,
                expected,
            )
        except FaultError as error:
            raise RefusedError(str(error)) from None
        for component in components - self._ready.keys():
            self._ready[component] = self._count(component)
        if self._closed is None:
            self._closed, self._withheld = self._closed_now(), self._withheld_now()
        return pause_s + waited_s

    def _differences(self, components: Collection[str]) -> Iterator[str]:
        """Yield what keeps the target from being steady, in words."""
        for component in sorted(components):
            yield from self._unlike(component)
        if self._closed is not None:
            if closed := self._closed_now() - self._closed:
                yield f"closed or down: {', '.join(sorted(closed))}"
            if withheld := self._withheld_now() - (self._withheld or set()):
                yield f"withheld: {', '.join(sorted(withheld))}"
        if left := self._target.left_behind():
            yield f"left behind: {'; '.join(left)}"

    def _unlike(self, component: str) -> Iterator[str]:
        before, kept = self._ready.get(component), self._kept(component)
        replicas = self._target.replicas(component)
        ready = Counter(one.tier for one in replicas if one.ready)
        for tier in sorted({*(before or ()), *kept, *(one.tier for one in replicas)}):
            keeper, found = kept.get(tier), ready[tier]
            wanted = before[tier] if before is not None else found
            if keeper is not None and (keeper.scaled or before is None):
                wanted = keeper.wanted
            # Where nobody knows who keeps them, an autoscaler may have added some.
            is_off = found < wanted if keeper is None else found != wanted
            others = [one.name for one in replicas if one.tier == tier and not one.ready]
            if is_off or others:
                rest = f", not ready: {', '.join(others)}" if others else ""
                name = f"{component} {tier}".strip()
                yield f"{name} has {found} ready, expected {wanted}{rest}"

    def _kept(self, component: str) -> Mapping[str, _Kept]:
        # Workloads may be seen only by those who may scale them: no run needs that otherwise.
        if self._sees_workloads is None:
            can = SCALE in self._target.capabilities
            self._sees_workloads = can and not self._target.missing_rights([SCALE])
        kept: dict[str, _Kept] = {}
        for one in self._target.workloads(component, None) if self._sees_workloads else ():
            other = kept.get(one.tier, _Kept(0, scaled=False))
            scaled = other.scaled or bool(one.scaled_by)
            kept[one.tier] = _Kept(other.wanted + one.wanted, scaled)
        return kept

    def _count(self, component: str) -> Counter[str]:
        return Counter(one.tier for one in self._target.replicas(component) if one.ready)

    def _closed_now(self) -> set[str]:
        nodes = self._target.nodes()
        return {one.name for one in nodes if not (one.ready and one.schedulable)}

    def _withheld_now(self) -> set[str]:
        return {str(one) for one in self._target.withheld()}
