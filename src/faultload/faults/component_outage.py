"""Take a dependency away whole, and keep it away."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.component_scale import ScaleTo, Size
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, TimeoutS
from faultload.targets import Target

_REFUSAL_S = 10.0


@dataclass(frozen=True, config=STRICT)
class Absence:
    """An intent: which component is to be gone.

    Attributes:
        component: `redis`, `prometheus`, `model-store`, …: all of it.
        timeout_s: until nothing of it is ready.
    """

    component: str = "redis"
    timeout_s: TimeoutS = 60.0

    @property
    def hits(self) -> int | None:
        """Only the target knows how many there are."""
        return None


class Outage(ScaleTo):
    """Take a component away whole: nothing of it runs until this is reverted.

    Stands for a dependency that is down: the cache that session affinity lives in, monitoring, the
    model registry. On Kubernetes its Deployment is scaled to 0; the local platform kills its
    process and holds it down. The blast radius must allow all of it: `share_max: 1`, and the
    component among the target's `expendable`.

    In force when its workload is to have 0 replicas, none is ready, and connections to where it
    listened are refused. A cluster's Service and the local router's socket stay when nobody is
    behind them; there readiness is the evidence.

    Reverted by scaling back to what it was; proven by that number. Whether as many are ready as
    before is waited for, within a bound, and said.
    """

    name: ClassVar[str] = "outage"
    intent = Absence  # type: ignore[assignment]  # of its own, and not a size

    def __init__(
        self, target: Target, intent: Absence = Absence(), limits: Limits = NO_LIMITS
    ) -> None:
        """Take away what `intent` says on `target`, within `limits`."""
        super().__init__(target, Size(0, intent.component, None, intent.timeout_s), limits)

    def plan(self) -> Plan:
        """Find the workload; there must be something that can be missed."""
        plan = super().plan()
        component = plan.before["component"]
        if not plan.before["ready"]:
            raise FaultError(f"nothing of {component} is ready: there is nothing to take away")
        return plan

    def verify(self, plan: Plan) -> Evidence:
        """Prove that nothing of it is ready, nor listens."""
        seen = super().verify(plan)
        component = plan.before["component"]
        refused, _ = wait_until(
            lambda: self._target.refuses(component),
            lambda refused: refused is not False,
            _REFUSAL_S,
            f"connections to {component} to be refused",
        )
        how = ", connections are refused" if refused else ""
        text = f"nothing of {component} is ready{how}"
        return Evidence(text, {**seen.data, "refused": refused})
