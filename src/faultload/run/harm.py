"""The order of several experiments: least harm first, as their plans have it."""

from __future__ import annotations

from dataclasses import dataclass

from faultload.faults import FAULTS
from faultload.faults.danger import DANGER, Danger
from faultload.run.plan import RunPlan


@dataclass(frozen=True, order=True)
class Harm:
    """What one experiment can do, computed from its plan. Sorts by its fields, in order.

    Attributes:
        danger: of its worst fault; one that may take a whole component takes more than replicas.
        faults: how many there are.
        share_max: largest share of a component's ready replicas that may be hit, 0-1.
        replicas: how many replicas may be hit, of all components.
        name: the experiment's, so that the order is always the same.
    """

    danger: Danger
    faults: int
    share_max: float
    replicas: int
    name: str


def harm_of(plan: RunPlan) -> Harm:
    """Return the most that a run may do, by what its faults can do and its limits allow."""
    radius = plan.experiment.block.blast_radius
    return Harm(
        danger=max((danger for _, danger in dangers_of(plan)), default=Danger.HOLDS_BACK),
        faults=len(plan.faults),
        share_max=max(one.share_max for one in radius),
        replicas=sum(one.replicas for one in radius),
        name=plan.experiment.name,
    )


def dangers_of(plan: RunPlan) -> list[tuple[str, Danger]]:
    """Return each fault of the method and what it can do, where it may hit what the plan says."""
    whole = {one.component for one in plan.experiment.block.blast_radius if one.share_max >= 1}
    found = []
    for name, intent in plan.faults:
        danger = DANGER[FAULTS[name].capability]
        takes_all = intent.component in whole and danger is Danger.TAKES_REPLICAS
        found.append((name, Danger.TAKES_MORE if takes_all else danger))
    return found
