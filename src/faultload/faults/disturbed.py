"""Disturbing the network before replicas: what every fault that does so shares."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from faultload.errors import FaultError
from faultload.faults.limits import Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Plan
from faultload.faults.victims import Choice, plan_on
from faultload.targets import Disturbance, Target

_UNDO_TIMEOUT_S = 30.0


def plan_disturbance(target: Target, choice: Choice, limits: Limits, how: Disturbance) -> Plan:
    """Return the plan of disturbing the network before who is chosen; the undo says how."""
    plan = plan_on(target, choice, limits)
    named = [{"name": v["name"], "uid": v["uid"]} for v in plan.victims]
    return replace(plan, undo={"mend": named, "how": asdict(how)})


def disturb(target: Target, plan: Plan) -> None:
    """Disturb the network before each victim."""
    target.disturb(_pairs(plan), how_of(plan), plan.mark)


def mend(target: Target, plan: Plan) -> None:
    """Take it back, before victims that were replaced meanwhile too."""
    target.mend(_pairs(plan), how_of(plan), plan.token)


def how_of(plan: Plan) -> Disturbance:
    """Return what the plan does to the network."""
    return Disturbance(**plan.undo["how"])


def is_listed(target: Target, plan: Plan) -> bool:
    """Say whether the target lists all of it before each victim."""
    wanted, seen = _changes(plan), target.disturbed(plan.token)
    return all(
        name in seen and wanted.items() <= asdict(seen[name]).items() for name, _ in _pairs(plan)
    )


def victims_there(target: Target, plan: Plan) -> list[str]:
    """Return the names of the victims that are ready, and no replacements."""
    hit = {victim["uid"] for victim in plan.victims}
    components = sorted({victim["component"] for victim in plan.victims})
    known = [one for name in components for one in target.replicas(name)]
    return [one.name for one in known if one.ready and one.uid in hit]


def prove_unlisted(target: Target, plan: Plan) -> None:
    """Wait until nothing of it is listed before any victim any more.

    Raises:
        FaultError: not within the bound.
    """
    ours = _changes(plan)

    def left() -> dict[str, Any]:
        seen, names = target.disturbed(plan.token), [name for name, _ in _pairs(plan)]
        return {
            name: still
            for name in names
            if name in seen and (still := dict(ours.items() & asdict(seen[name]).items()))
        }

    wait_until(
        left, lambda found: not found, _UNDO_TIMEOUT_S, f"{plan.hits} to be disturbed no more"
    )


def insist_listed(target: Target, plan: Plan) -> None:
    """See that the target lists it.

    Raises:
        FaultError: it does not.
    """
    if not is_listed(target, plan):
        seen = {name: asdict(how) for name, how in target.disturbed(plan.token).items()}
        raise FaultError(f"expected {_changes(plan)} before {plan.hits}; last seen: {seen}")


def _changes(plan: Plan) -> dict[str, Any]:
    nothing = asdict(Disturbance())
    return {key: value for key, value in plan.undo["how"].items() if value != nothing[key]}


def _pairs(plan: Plan) -> list[tuple[str, str]]:
    return [(victim["name"], victim["uid"]) for victim in plan.undo["mend"]]
