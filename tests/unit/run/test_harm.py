"""The order of experiments: least harm first, as computed from their plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faultload.faults.danger import Danger
from faultload.faults.gpu_slow import Slowness
from faultload.faults.victims import Choice, NodeChoice
from faultload.run.harm import harm_of
from faultload.run.plan import RunPlan, prepare
from faultload.spec import Catalogue
from faultload.spec.experiment import BlastRadius

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def plan() -> RunPlan:
    """Return the plan of replica-loss on the local target."""
    return prepare(Catalogue(ROOT), "engine/replica-loss", "local")


def planned(
    plan: RunPlan, name: str, faults: list[tuple[str, Any]], *radius: BlastRadius
) -> RunPlan:
    """Return a plan of another name, with other faults and another blast radius."""
    block = plan.experiment.block.model_copy(update={"blast_radius": list(radius)})
    path = Path("experiments") / f"{name}.yaml"
    return replace(plan, experiment=replace(plan.experiment, path=path, block=block), faults=faults)


def test_least_harm_comes_first(plan: RunPlan) -> None:
    """What a fault can do counts first, then how many, then how much of whom, then the name."""
    kill, slow = ("kill_replica", Choice()), ("slow_gpu", Slowness())
    one = BlastRadius(component="engine", replicas=1)
    few = BlastRadius(component="engine", replicas=1, share_max=0.3)
    two = BlastRadius(component="engine", replicas=2)
    both = BlastRadius(component="redis", replicas=1, share_max=0.5)
    in_order = [
        planned(plan, "z/cordon", [("cordon_node", NodeChoice())], two),
        planned(plan, "y/slow", [slow], two),
        planned(plan, "x/small", [kill], few),
        planned(plan, "v/one", [kill], one),
        planned(plan, "w/one", [kill], one),
        planned(plan, "u/two", [kill], two),
        planned(plan, "t/both", [kill, slow], one, both),
    ]

    backwards = in_order[::-1]
    found = sorted(backwards, key=harm_of)

    assert [one.experiment.name for one in found] == [one.experiment.name for one in in_order]


def test_whole_component_is_more_than_its_replicas(plan: RunPlan) -> None:
    """Whoever may hit all there is takes a dependency away, whatever the fault is called."""
    whole = BlastRadius(component="redis", replicas=1, share_max=1)
    redis = planned(plan, "a/redis", [("kill_replica", Choice(component="redis"))], whole)
    slow = planned(plan, "a/slow", [("slow_gpu", Slowness(component="redis"))], whole)

    assert harm_of(redis).danger is Danger.TAKES_MORE
    assert harm_of(slow).danger is Danger.DEGRADES


def test_every_shipped_experiment_has_its_place() -> None:
    """None fails to be ordered, and no two are in the same place."""
    catalogue = Catalogue(ROOT)
    harms = [harm_of(prepare(catalogue, str(p), "local")) for p in catalogue.experiment_paths()]
    assert len(set(harms)) == len(harms)
