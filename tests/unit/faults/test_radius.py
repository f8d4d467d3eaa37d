"""What the faults of one method hit adds up: a fault that did not say it would slip by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory import Platform, replica

from faultload.errors import RefusedError
from faultload.faults import FAULTS
from faultload.faults.component_outage import Absence
from faultload.faults.component_scale import Size
from faultload.faults.limits import Limits, Radius
from faultload.faults.victims import Choice
from faultload.targets import Workload

HARMLESS = {"add_load", "cordon_node", "withhold_capacity", "spoil_model"}
"""Takes no replica away: who comes later finds no machine, no weights, or a crowd."""
OF_MACHINES = {"drain_node", "lose_node", "advise_rebalance", "interrupt_spot", "fail_zone"}
"""Hits all that is on a machine or in a zone."""
STOCK = {"terminate_pods", "scale_deployment", "scale_statefulset"}
"""Know a component's replicas on a cluster only; test_stock.py holds the rule for them."""
CHOSEN_BY_THE_PLATFORM = {"scale_to", "outage", "roll_out", "bad_release"}
"""Hit as many as the platform takes away."""
ARGUMENTS = {"slow_network": {"latency_s": 0.1}}
"""What some intents cannot do without."""


def platform() -> Platform:
    """Return four ready replicas of one tier."""
    return Platform(*(replica(f"r{index}") for index in range(4)))


COUNTED_ELSEWHERE = STOCK | OF_MACHINES | CHOSEN_BY_THE_PLATFORM


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - HARMLESS - COUNTED_ELSEWHERE))
def test_every_fault_counts_for_those_beside_it(name: str) -> None:
    """One replica is allowed: after this fault hit it, no other fault may hit one."""
    fault = FAULTS[name]
    limits = Limits(radius={"engine": Radius(1)})
    plan = fault(platform(), fault.intent(**ARGUMENTS.get(name, {})), limits).plan()

    assert plan.hit == {"engine": [1, 4]}
    with pytest.raises(RefusedError, match="by several faults"):
        Choice().resolve(platform(), limits.after(plan.hit))


@pytest.mark.parametrize("name", sorted(OF_MACHINES))
def test_every_fault_of_machines_counts_all_replicas_there(name: str) -> None:
    """Also those of other components, which are held to their own limit."""
    spread = Platform(
        *(replica(f"r{n}", node=f"node-{n // 2}", zone=f"zone-{n // 2}") for n in range(4))
    )
    spread.machines = {k: replace(m, capacity_type="spot") for k, m in spread.machines.items()}
    spread.others = [
        replace(replica(f"router-{n}", node=f"node-{n}"), component="router") for n in (0, 1)
    ]
    fault = FAULTS[name]
    radius = {"engine": Radius(2), "router": Radius(1)}

    plan = fault(spread, fault.intent(), Limits(radius=radius)).plan()

    assert plan.hit == {"engine": [2, 4], "router": [1, 2]}
    with pytest.raises(RefusedError, match="router"):
        fault(spread, fault.intent(), Limits(radius={"engine": Radius(2)})).plan()


def test_the_faults_left_out_say_it_too() -> None:
    """Those whose victims the platform chooses count what will go."""
    scaled = FAULTS["scale_to"](platform(), Size(3), Limits()).plan()

    assert scaled.hit == {"engine": [1, 4]}

    rolling = platform()
    rolling.max_unavailable = 1
    for name in ("roll_out", "bad_release"):
        assert FAULTS[name](rolling, FAULTS[name].intent()).plan().hit == {"engine": [1, 4]}
    gone = platform()
    gone.others = [replace(replica("cache"), component="redis")]
    gone.tiers["redis"] = Workload("redis", "w-redis", "redis", "", 1, "")
    assert FAULTS["outage"](gone, Absence(), Limits()).plan().hit == {"redis": [1, 1]}
