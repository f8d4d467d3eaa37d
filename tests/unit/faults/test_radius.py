"""What the faults of one method hit adds up: a fault that did not say it would slip by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory import Platform, replica

from faultload.errors import RefusedError
from faultload.faults import FAULTS
from faultload.faults.limits import Limits, Radius
from faultload.faults.outage import Absence
from faultload.faults.scale_to import Size
from faultload.faults.victims import Choice
from faultload.targets import Workload

HARMLESS = {"cordon_node"}
"""Takes no replica away."""
ARGUMENTS = {"slow_network": {"latency_s": 0.1}}
"""What some intents cannot do without."""


def platform() -> Platform:
    """Return four ready replicas of one tier."""
    return Platform(*(replica(f"r{index}") for index in range(4)))


@pytest.mark.parametrize(
    "name", sorted(FAULTS.keys() - HARMLESS - {"drain_node", "scale_to", "outage"})
)
def test_every_fault_counts_for_those_beside_it(name: str) -> None:
    """One replica is allowed: after this fault hit it, no other fault may hit one."""
    fault = FAULTS[name]
    limits = Limits(radius={"engine": Radius(1)})
    plan = fault(platform(), fault.intent(**ARGUMENTS.get(name, {})), limits).plan()

    assert plan.hit == {"engine": [1, 4]}
    with pytest.raises(RefusedError, match="by several faults"):
        Choice().resolve(platform(), limits.after(plan.hit))


def test_the_faults_left_out_say_it_too() -> None:
    """Those whose victims the platform chooses count what will go."""
    scaled = FAULTS["scale_to"](platform(), Size(3), Limits()).plan()

    assert scaled.hit == {"engine": [1, 4]}
    gone = platform()
    gone.others = [replace(replica("cache"), component="redis")]
    gone.tiers["redis"] = Workload("redis", "w-redis", "redis", "", 1, "")
    assert FAULTS["outage"](gone, Absence(), Limits()).plan().hit == {"redis": [1, 1]}
