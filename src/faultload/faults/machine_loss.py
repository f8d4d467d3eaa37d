"""Losing machines: what every fault that ends them shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faultload.errors import FaultError
from faultload.faults.limits import Limits
from faultload.faults.proofs import ready_now, say_restored, wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import as_node, as_victims, check_others
from faultload.targets import Node, Replica, Target

NOTICED_S = 90.0
"""Longer than a cluster needs to miss a machine's heartbeat: 50 s by Kubernetes' default."""
_RETURN_TIMEOUT_S = 60.0


def plan_on_machines(
    target: Target,
    component: str,
    limits: Limits,
    chosen: Sequence[tuple[Node, Sequence[Replica]]],
) -> Plan:
    """Return the plan of hitting machines and all that runs there, without an undo.

    Args:
        target: where.
        component: whose replicas were counted when the machines were chosen.
        limits: what else runs there is held to them.
        chosen: each machine with its ready replicas.

    Raises:
        RefusedError: more of another component than the blast radius allows.
    """
    victims = [replica for _, here in chosen for replica in here]
    ready = ready_now(target, component)
    there = [one for node, _ in chosen for one in target.occupants(node.name)]
    hit = {component: [len(victims), sum(ready.values())]}
    return Plan(
        victims=as_victims(victims),
        before={
            "ready": ready,
            "machines": [as_node(node) for node, _ in chosen],
            "machines_ready": sum(node.ready for node in target.nodes()),
        },
        hit=hit | check_others(target, limits, component, there),
        whom="; ".join(
            f"{node.name} with {', '.join(r.name for r in here) or 'no ready replica'}"
            for node, here in chosen
        ),
    )


def names_of(plan: Plan) -> str:
    """Return the planned machines, in words."""
    return ", ".join(machine["name"] for machine in plan.before["machines"])


def prove_ended(target: Target, plan: Plan, timeout_s: float) -> Evidence:
    """Wait until no planned machine is ready, and no victim under its planned uid.

    A machine that is no longer listed, or was replaced by one of the same name, has ended.

    Raises:
        FaultError: not within the bound.
    """
    machines = {machine["uid"] for machine in plan.before["machines"]}
    victims = {victim["uid"] for victim in plan.victims}
    components = sorted({victim["component"] for victim in plan.victims})

    def look() -> dict[str, Any]:
        return {
            "machines_ready": [n.name for n in target.nodes() if n.uid in machines and n.ready],
            "replicas_ready": [
                one.name
                for component in components
                for one in target.replicas(component)
                if one.uid in victims and one.ready
            ],
        }

    names = names_of(plan)
    seen, waited_s = wait_until(
        look,
        lambda seen: not seen["machines_ready"] and not seen["replicas_ready"],
        timeout_s,
        f"{names} to have ended, and no replica there to be ready",
    )
    gone = ", ".join(victim["name"] for victim in plan.victims)
    text = f"{names} ended, and {gone} with it: not ready after {waited_s:.2f} s"
    return Evidence(text, {"waited_s": waited_s, **seen})


def say_whole(target: Target, plan: Plan, over: str) -> Evidence:
    """Say whether as many replicas and machines are ready as before; waits within a bound.

    For harm that is over whatever the platform makes of it, as `say_restored`.

    Args:
        target: where.
        plan: what was done.
        over: what is over: `the machine is lost`.
    """
    healed = say_restored(target, plan, _RETURN_TIMEOUT_S, over)
    before = plan.before["machines_ready"]
    try:
        found, waited_s = wait_until(
            lambda: sum(node.ready for node in target.nodes()),
            lambda count: count >= before,
            _RETURN_TIMEOUT_S,
            f"{before} ready machines",
        )
    except FaultError as error:
        text = f"{healed.text}; its machines are not back: {error}"
        return Evidence(text, {**healed.data, "healed": False})
    data = {**healed.data, "machines_ready": found, "machines_waited_s": waited_s}
    return Evidence(f"{healed.text}; {found} machines ready", data)
