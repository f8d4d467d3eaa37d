"""Withhold capacity: the cloud launches no machine of a kind."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT
from faultload.targets import WITHHOLD_CAPACITY, Capacity, Target

_TIMEOUT_S = 30.0


@dataclass(frozen=True, config=STRICT)
class Shortage:
    """An intent: the kind of machine that the cloud is to have none of.

    Attributes:
        zone, capacity_type, instance_type: of the machines meant; "": any.
    """

    zone: str = ""
    capacity_type: Literal["", "spot", "on-demand"] = ""
    instance_type: str = ""

    @property
    def component(self) -> str:
        """What runs goes on running."""
        return ""

    @property
    def hits(self) -> int | None:
        """No replica."""
        return 0


class WithholdCapacity:
    """Have the cloud refuse to launch machines of a kind; those that run stay.

    EC2's InsufficientInstanceCapacity: GPU machines are short, in a zone, of a type or as spot, at
    the very time when something has to be replaced. No harm of its own until something needs a
    machine, so it stands beside a fault that takes one away. The local platform launches none of
    the kind and says which launches it refused; on AWS, FIS has errors for Auto Scaling groups.

    In force when the platform says that its cloud has none of that very kind. That a launch was
    refused is not proven: mostly nothing is being launched at that moment, and what was being
    launched before still comes. How many launches were refused while it lasted is said at its end,
    where the target can tell.

    Reverted by offering the kind again; that the platform says so is proven. What else withholds
    such machines, a failed zone, goes on withholding them.
    """

    name: ClassVar[str] = "withhold_capacity"
    capability: ClassVar[str] = WITHHOLD_CAPACITY
    intent: ClassVar[type[Shortage]] = Shortage

    def __init__(
        self, target: Target, intent: Shortage = Shortage(), limits: Limits = NO_LIMITS
    ) -> None:
        """Withhold what `intent` says on `target`; `limits` are about replicas, and none is hit."""
        self._target, self._kind = target, Capacity(**asdict(intent))
        self._limits = limits

    def plan(self) -> Plan:
        """See that nobody withholds it already: giving it back must be ours to do."""
        if self._kind in self._target.withheld():
            raise FaultError(f"{self._kind} is withheld already: offering it is not ours to do")
        return Plan(
            victims=[],
            undo=asdict(self._kind),
            before={"refused": self._target.launches_refused()},
            whom=f"nobody: {self._kind} is withheld",
        )

    def inject(self, plan: Plan) -> None:
        """Withhold it."""
        self._target.withhold_capacity(self._kind, plan.mark)

    def verify(self, plan: Plan) -> Evidence:  # noqa: ARG002  # the protocol's
        """Prove that the platform says so."""
        return prove_withheld(self._target, self._kind)

    def revert(self, plan: Plan) -> None:
        """Offer it again."""
        self._target.offer_capacity(Capacity(**plan.undo), plan.token)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that the platform says so, and say how many launches were refused meanwhile.

        Raises:
            FaultError: it is withheld still.
        """
        offered = prove_offered(self._target, Capacity(**plan.undo))
        before, now = plan.before["refused"], self._target.launches_refused()
        if before is None or now is None:
            return Evidence(f"{offered.text}; whether a launch was refused is not known here")
        said = f"{now - before} launch(es) refused meanwhile" if now > before else "none was asked"
        return Evidence(f"{offered.text}; {said}", {**offered.data, "refused": now - before})


def prove_withheld(target: Target, kind: Capacity) -> Evidence:
    """Wait until the cloud says that it has none of a kind.

    Raises:
        FaultError: not within the bound.
    """
    return _wait(target, kind, withheld=True)


def prove_offered(target: Target, kind: Capacity) -> Evidence:
    """Wait until the cloud no longer says that it has none of this very kind.

    Raises:
        FaultError: not within the bound.
    """
    return _wait(target, kind, withheld=False)


def _wait(target: Target, kind: Capacity, *, withheld: bool) -> Evidence:
    def look() -> Collection[str]:
        return sorted(map(str, target.withheld()))

    what = "withheld" if withheld else "offered again"
    seen, waited_s = wait_until(
        look, lambda seen: (str(kind) in seen) is withheld, _TIMEOUT_S, f"{kind} to be {what}"
    )
    return Evidence(f"{kind} is {what}", {"waited_s": waited_s, "withheld": list(seen)})
