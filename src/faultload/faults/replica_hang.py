"""Hang replicas: they hold their connections and produce nothing, until they are let go on."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import ClassVar

from faultload.errors import FaultError
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import prove_restored, prove_unready
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import Choice, plan_on
from faultload.targets import HANG_REPLICA, Target

_NOTICE_TIMEOUT_S = 5.0
_RETURN_TIMEOUT_S = 60.0


class HangReplica:
    """Stop replicas with SIGSTOP: sockets stay open, no byte comes.

    It stands for a process that is stuck: swapped out, in a debugger, on a host that stalls. All of
    the replica's processes are stopped and none ends, so that connections are accepted by the
    kernel and never answered. The API of Kubernetes cannot stop a process without ending it.

    In force when no victim is ready any more: its readiness probe goes unanswered.

    Reverted by SIGCONT; a victim that was replaced meanwhile needs none. Proven is that each
    victim's name is ready, as itself or as its replacement, or that its tier has as many ready
    replicas as before.
    """

    name: ClassVar[str] = "hang_replica"
    capability: ClassVar[str] = HANG_REPLICA
    intent: ClassVar[type[Choice]] = Choice

    def __init__(
        self, target: Target, intent: Choice = Choice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._intent, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims; the undo names them by uid."""
        plan = plan_on(self._target, self._intent, self._limits)
        named = [{"name": v["name"], "uid": v["uid"]} for v in plan.victims]
        return replace(plan, undo={"continue": named})

    def inject(self, plan: Plan) -> None:
        """Stop each victim."""
        for victim in plan.victims:
            self._target.stop_replica(victim["name"], victim["uid"])

    def verify(self, plan: Plan) -> Evidence:
        """Prove that every victim stopped answering: its readiness is lost, or it is asked itself.

        A platform without readiness probes goes on calling it ready.
        """
        try:
            return prove_unready(self._target, plan, _NOTICE_TIMEOUT_S)
        except FaultError as unnoticed:
            pulses = [self._target.pulse(v["name"], v["uid"]) for v in plan.victims]
            if any(one is None or one.healthy or one.answered for one in pulses):
                raise FaultError(f"{unnoticed}; asked directly: {pulses}") from None
        text = f"{plan.hits} answered neither a health check nor a request; the platform lists it"
        return Evidence(f"{text} as ready", {"pulses": [asdict(one) for one in pulses if one]})

    def revert(self, plan: Plan) -> None:
        """Let each victim go on."""
        for victim in plan.undo["continue"]:
            self._target.continue_replica(victim["name"], victim["uid"])

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that each victim's name is ready, as itself or as its replacement."""
        return prove_restored(self._target, plan, _RETURN_TIMEOUT_S)
