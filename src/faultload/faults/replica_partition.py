"""Partition replicas: they run, and nobody can reach them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import say_restored, wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import Choice, plan_on
from faultload.targets import PARTITION, Target

_EFFECT_TIMEOUT_S = 30.0
_UNDO_TIMEOUT_S = 30.0
_RETURN_TIMEOUT_S = 60.0


class PartitionReplica:
    """Cut replicas off the network: packets to them are lost, and nothing says so.

    It stands for a broken switch, a wrong security group or a bad network policy. Locally the
    replica's link drops what comes; on Kubernetes a NetworkPolicy that allows nothing selects the
    victims. Readiness proves nothing here: a kubelet probes from beside its pod, and network
    policies let it, so a replica that nobody can reach stays ready.

    In force when the target lists every victim as cut off and each is serving no request any more.
    A cluster whose network does not enforce policies lists the victims and goes on serving. A
    target that does not know what a replica is serving leaves that half to the request rows: a run
    in which a victim served a request that was sent after the partition is invalid.

    Reverted by joining the victims again. Proven is that none is cut off, and said whether each
    tier has as many ready as before within 60 s.
    """

    name: ClassVar[str] = "partition_replica"
    capability: ClassVar[str] = PARTITION
    intent: ClassVar[type[Choice]] = Choice

    def __init__(
        self, target: Target, intent: Choice = Choice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._choice, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims; the undo names them."""
        plan = plan_on(self._target, self._choice, self._limits)
        named = [{"name": v["name"], "uid": v["uid"]} for v in plan.victims]
        return replace(plan, undo={"join": named})

    def inject(self, plan: Plan) -> None:
        """Cut the victims off."""
        self._target.partition(_pairs(plan), plan.mark)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that all victims are cut off and silent, as far as the target can tell."""
        names, uids = _names(plan), {victim["uid"] for victim in plan.victims}

        def holds(seen: list[dict[str, Any]]) -> bool:
            return uids <= {s["uid"] for s in seen if s["cut_off"] and _is_silent(s)}

        seen, waited_s = wait_until(
            lambda: self._look(plan),
            holds,
            _EFFECT_TIMEOUT_S,
            f"{names} to be cut off and to serve nothing any more",
        )
        unknown = [s["name"] for s in seen if s["ready"] and s["inflight"] is None]
        silent = (
            f"what {', '.join(unknown)} serves is not known here: the request rows show it"
            if unknown
            else "serving nothing any more"
        )
        text = f"{names} cut off after {waited_s:.2f} s, {silent}"
        return Evidence(text, {"waited_s": waited_s, "states": seen})

    def revert(self, plan: Plan) -> None:
        """Join the victims again."""
        self._target.join(_pairs(plan), plan.token)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that no victim is cut off, and say whether as many are ready as before.

        Raises:
            FaultError: one still is.
        """
        names = _names(plan)
        wait_until(
            lambda: [s["name"] for s in self._look(plan) if s["cut_off"]],
            lambda cut_off: not cut_off,
            _UNDO_TIMEOUT_S,
            f"{names} not to be cut off",
        )
        healed = say_restored(self._target, plan, _RETURN_TIMEOUT_S, "the partition is over")
        return Evidence(f"{names} joined again; {healed.text}", healed.data)

    def _look(self, plan: Plan) -> list[dict[str, Any]]:
        """Return each victim that is there, as itself or started again in place."""
        cut_off = set(self._target.partitioned(plan.token))
        names = {victim["name"] for victim in plan.victims}
        found = {
            replica.uid: replica
            for component in sorted({victim["component"] for victim in plan.victims})
            for replica in self._target.replicas(component)
            if replica.name in names
        }
        rows = [
            {
                "name": replica.name,
                "uid": uid,
                "ready": replica.ready,
                "inflight": replica.inflight,
                "cut_off": uid in cut_off,
            }
            for uid, replica in found.items()
        ]
        # One may be listed as cut off and no longer as a replica.
        planned = {victim["uid"]: victim["name"] for victim in plan.victims}
        rows += [
            {"name": name, "uid": uid, "ready": False, "inflight": None, "cut_off": True}
            for uid, name in planned.items()
            if uid in cut_off and uid not in found
        ]
        return rows


def _is_silent(state: dict[str, Any]) -> bool:
    return not state["ready"] or not state["inflight"]


def _names(plan: Plan) -> str:
    return ", ".join(victim["name"] for victim in plan.victims)


def _pairs(plan: Plan) -> list[tuple[str, str]]:
    return [(victim["name"], victim["uid"]) for victim in plan.undo["join"]]
