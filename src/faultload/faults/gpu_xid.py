"""Break a GPU: its driver reports an Xid error, and the engine on it dies or hangs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import say_restored, wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, Choice, plan_on
from faultload.targets import GPU_XID, Target

Xid = Literal[48, 74, 79, 94]
"""Double-bit ECC error, NVLink error, fallen off the bus, contained ECC error."""

_HANGS = 74
_EFFECT_TIMEOUT_S = 15.0
_RETURN_TIMEOUT_S = 90.0


@dataclass(frozen=True, config=STRICT)
class Breakage(Choice):
    """An intent: which replicas' GPUs to break, and how.

    Attributes:
        xid: NVIDIA's number of the error; 74 hangs the engine, the others kill it.
    """

    xid: Xid = 79


class RaiseGpuXid:
    """Have the driver report an Xid error on the victims' GPUs, with its consequences.

    It stands for broken hardware: a GPU that fell off the bus (79), ECC errors (48, 94), an NVLink
    that fails (74). Locally a simulated driver writes the kernel's line, and the engine dies of it
    or hangs; the API of Kubernetes reaches no GPU.

    In force when the kernel's line about this Xid is new in each victim's log *and* its engine is
    gone or, for 74, takes requests and generates nothing.

    Reverted by a reset of the machine's GPUs, which ends whoever is still on the victims'. Said is
    whether each tier has as many ready replicas as before within 90 s: no engine starts on a
    broken GPU.
    """

    name: ClassVar[str] = "gpu_xid"
    capability: ClassVar[str] = GPU_XID
    intent: ClassVar[type[Breakage]] = Breakage

    def __init__(
        self, target: Target, intent: Breakage = Breakage(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._intent, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims, and count what their logs say already."""
        plan = plan_on(self._target, self._intent, self._limits)
        line, names = _line(self._intent.xid), [victim["name"] for victim in plan.victims]
        said = {name: self._target.count_said(name, line) for name in names}
        placed = [{k: v[k] for k in ("name", "uid", "node")} for v in plan.victims]
        before = plan.before | {"said": said, "xid": self._intent.xid}
        return replace(plan, undo={"reset": placed}, before=before)

    def inject(self, plan: Plan) -> None:
        """Raise the error on each victim's GPU."""
        for victim in plan.victims:
            self._target.raise_xid(victim["name"], victim["uid"], plan.before["xid"])

    def verify(self, plan: Plan) -> Evidence:
        """Prove that each victim's kernel line came, and that its engine died or hangs."""
        xid = plan.before["xid"]
        harm = "hangs" if xid == _HANGS else "gone"
        seen, waited_s = wait_until(
            lambda: self._look(plan),
            lambda looks: all(look["reported"] > 0 and look[harm] for look in looks),
            _EFFECT_TIMEOUT_S,
            f"Xid {xid} to be reported for {plan.hits}, whose engine then {harm}",
        )
        text = f"Xid {xid} reported for {plan.hits}, engine {harm}, seen after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, "victims": seen})

    def revert(self, plan: Plan) -> None:
        """Reset the GPUs."""
        for victim in plan.undo["reset"]:
            self._target.reset_gpu(victim["name"], victim["uid"], victim["node"])

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Say whether as many are ready as before: no engine starts on a broken GPU."""
        return say_restored(self._target, plan, _RETURN_TIMEOUT_S, "the GPU was reset")

    def _look(self, plan: Plan) -> list[dict[str, Any]]:
        components = sorted({victim["component"] for victim in plan.victims})
        ready = {r.uid for c in components for r in self._target.replicas(c) if r.ready}
        line, before = _line(plan.before["xid"]), plan.before["said"]
        looks = []
        for victim in plan.victims:
            name, uid = victim["name"], victim["uid"]
            pulse = self._target.pulse(name, uid) if uid in ready else None
            looks.append(
                {
                    "name": name,
                    "reported": self._target.count_said(name, line) - before[name],
                    "gone": uid not in ready,
                    "hangs": pulse is not None and pulse.hangs,
                }
            )
        return looks


def _line(xid: int) -> str:
    """Return what the kernel's line holds, between the GPU's address and the process."""
    return f"): {xid}, pid="
