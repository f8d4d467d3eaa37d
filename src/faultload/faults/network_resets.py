"""Reset connections to replicas, as a network does that loses or forgets them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.disturbed import (
    disturb,
    insist_listed,
    mend,
    plan_disturbance,
    prove_unlisted,
    victims_there,
)
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, Choice
from faultload.targets import DISTURB_NETWORK, Disturbance, Target

_TIMEOUT_S = 30.0
_CONNECTIONS = 10


@dataclass(frozen=True, config=STRICT)
class Resets(Choice):
    """An intent: before which replicas connections are reset, and how many of them.

    Attributes:
        share: of connections that are reset, 0-1: of new ones, and once of those that are open.
    """

    share: Annotated[float, Field(gt=0.01, le=1, allow_inf_nan=False)] = 0.2


class ResetConnections:
    """Reset a share of the connections to replicas: open streams are cut, new requests fail.

    Stands for loss in the network: a load balancer or NAT gateway that loses its table, a firewall
    that restarts, packets lost for so long that TCP gives up. On the local platform the link before
    the replica sends RST to both sides: to that share of open connections at once, and to that
    share of new ones at once, on the caller's first bytes or on the callee's. On Kubernetes it is
    what `iptables -j REJECT --reject-with tcp-reset` does before a pod.

    In force when the target lists it, and one of the connections that are made on the callers' way
    was reset; none was before. With a share that is small this takes some hundred of them.

    Reverted by taking it back if it still is ours; proven by the target's list, and by ten
    connections in a row to each victim that is still there, none of which is reset.
    """

    name: ClassVar[str] = "reset_connections"
    capability: ClassVar[str] = DISTURB_NETWORK
    intent: ClassVar[type[Resets]] = Resets

    def __init__(
        self, target: Target, intent: Resets = Resets(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._intent, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims, and see that connections to them hold."""
        how = Disturbance(reset_ratio=self._intent.share)
        plan = plan_disturbance(self._target, self._intent, self._limits, how)
        for victim in plan.victims:
            name = victim["name"]
            seen = self._target.resets(name, _CONNECTIONS)
            if seen is None:
                raise FaultError(f"{name}: there is no network before it here to reset connections")
            if seen[0]:
                raise FaultError(
                    f"{name}: {seen[0]} of {seen[1]} connections to it are reset already, so ours"
                    " could not be told"
                )
        return replace(plan, before=plan.before | {"resets": 0})

    def inject(self, plan: Plan) -> None:
        """Have connections to each victim reset."""
        disturb(self._target, plan)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that connections to every victim are reset."""
        insist_listed(self._target, plan)
        found = {victim["name"]: [0, 0] for victim in plan.victims}

        def look() -> dict[str, list[int]]:
            for name in victims_there(self._target, plan):
                seen = self._target.resets(name, _CONNECTIONS)
                if not found[name][0] and seen is not None:
                    found[name] = [found[name][0] + seen[0], found[name][1] + seen[1]]
            return found

        _, waited_s = wait_until(
            look,
            lambda seen: all(reset for reset, _ in seen.values()),
            _TIMEOUT_S,
            f"connections to {plan.hits} to be reset",
        )
        counts = ", ".join(f"{reset} of {tried}" for reset, tried in found.values())
        text = f"{counts} connections to {plan.hits} were reset"
        return Evidence(text, {"waited_s": waited_s, "connections": found})

    def revert(self, plan: Plan) -> None:
        """Take it back."""
        mend(self._target, plan)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that it is not listed, and that connections to who is still there hold."""
        prove_unlisted(self._target, plan)

        def look() -> dict[str, Any]:
            there = victims_there(self._target, plan)
            return {name: self._target.resets(name, _CONNECTIONS) for name in there}

        seen, waited_s = wait_until(
            look,
            lambda seen: all(one is not None and not one[0] for one in seen.values()),
            _TIMEOUT_S,
            f"no connection to {plan.hits} to be reset any more",
        )
        text = f"connections to {plan.hits} hold again" if seen else f"{plan.hits}: replaced"
        return Evidence(text, {"waited_s": waited_s, "connections": seen})
