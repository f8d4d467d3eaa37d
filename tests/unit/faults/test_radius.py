"""What the faults of one method hit adds up: a fault that did not say it would slip by."""

from __future__ import annotations

import pytest
from memory import Platform, replica

from faultload.errors import RefusedError
from faultload.faults import FAULTS
from faultload.faults.limits import Limits, Radius
from faultload.faults.scale_to import Size
from faultload.faults.victims import Choice

HARMLESS = {"cordon_node", "spoil_model"}
"""Takes no replica away: who comes later finds no machine, or no weights."""
CHOSEN_BY_THE_PLATFORM = {"drain_node", "scale_to", "roll_out", "bad_release"}
"""Hit as many as the platform takes away."""


def platform() -> Platform:
    """Return four ready replicas of one tier."""
    return Platform(*(replica(f"r{index}") for index in range(4)))


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - HARMLESS - CHOSEN_BY_THE_PLATFORM))
def test_every_fault_counts_for_those_beside_it(name: str) -> None:
    """One replica is allowed: after this fault hit it, no other fault may hit one."""
    fault = FAULTS[name]
    limits = Limits(radius={"engine": Radius(1)})
    plan = fault(platform(), fault.intent(), limits).plan()

    assert plan.hit == {"engine": [1, 4]}
    with pytest.raises(RefusedError, match="by several faults"):
        Choice().resolve(platform(), limits.after(plan.hit))


def test_the_faults_left_out_say_it_too() -> None:
    """Those whose victims the platform chooses count what will go."""
    scaled = FAULTS["scale_to"](platform(), Size(3), Limits()).plan()

    assert scaled.hit == {"engine": [1, 4]}

    rolling = platform()
    rolling.max_unavailable = 1
    for name in ("roll_out", "bad_release"):
        assert FAULTS[name](rolling, FAULTS[name].intent()).plan().hit == {"engine": [1, 4]}
