"""How each fault ends when nobody is left to end it: by its lease, with its parent, by itself."""

from __future__ import annotations

from typing import Any

import pytest
from live import Live, is_whole
from projects import wait_for

from faultload.faults import FAULTS, FaultSession, Plan
from faultload.faults.limits import NO_LIMITS
from faultload.targets import local_lease

pytestmark = pytest.mark.local

BY_ITS_LEASE: dict[str, dict[str, Any]] = {
    "hang_replica": {"tier": "fast"},
    "hang_engine": {"tier": "fast"},
    "exhaust_gpu_memory": {"tier": "fast"},
    "gpu_xid": {"tier": "fast"},
    "slow_gpu": {"tier": "fast"},
    "cordon_node": {},
    "drain_node": {},
    "scale_to": {"tier": "fast", "replicas": 1},
    "partition_replica": {"tier": "fast"},
    "slow_network": {"tier": "fast", "latency_s": 0.1},
    "reset_connections": {"tier": "fast", "share": 0.9},
    "outage": {"component": "redis"},
    "bad_release": {"tier": "fast"},
    "withhold_capacity": {"capacity_type": "spot"},
    "fail_zone": {},
}
"""What is put back by the platform, and arguments to try it with; what heals slowly is last."""

NOT_TRIED_HERE = {"spoil_model"}
"""By its lease too, on a platform with a model store: tests/platform/local/test_lease_undo.py."""

BY_THE_PLATFORM_S_OWN_DOING = {
    "kill_replica",
    "kill_engine",
    "delete_replica",
    "evict_replica",
    "roll_out",
    "lose_node",
    "interrupt_spot",
    "advise_rebalance",
}
"""There is nothing to take back: what ended is replaced, and EC2 takes no notice back."""

WITH_ITS_PARENT = {"add_load", "fill_kv_cache"}
"""Traffic, from a process that the kernel kills: tests/unit/load/test_sender.py."""

BY_MARKS = {"terminate_pods", "scale_deployment", "scale_statefulset"}
"""Of clusters alone: tests/cluster/test_crashes.py."""


def test_nobody_has_forgotten_how_a_fault_ends() -> None:
    """One that is new must be thought about here first, and only once."""
    ways = [BY_ITS_LEASE, NOT_TRIED_HERE, BY_THE_PLATFORM_S_OWN_DOING, WITH_ITS_PARENT, BY_MARKS]
    assert sorted(name for way in ways for name in way) == sorted(FAULTS)


@pytest.mark.full
@pytest.mark.parametrize("name", BY_ITS_LEASE)
def test_fault_that_nobody_reverts_is_proven_gone(
    session: FaultSession, watched: Live, name: str
) -> None:
    """By the fault's own proof, with no revert at all; and what `recover` does later is no harm."""
    target, kind = watched.target, FAULTS[name]
    wait_for(lambda: is_whole(target), 60, "a whole platform")
    done = session.apply(kind(target, kind.intent(**BY_ITS_LEASE[name]), NO_LIMITS))
    token, plan = done["injection_id"], Plan.from_json(done["plan"])
    assert f"lease/{token}" not in expired(target)

    local_lease.take(target._control, token, 0.5)

    wait_for(lambda: f"lease/{token}" in expired(target), 10, "its lease to be over")
    gone = kind(target).verify_reverted(plan)
    assert gone.text
    assert [
        event for event in target.events() if event.reason == "Undone" and token in event.message
    ]
    session.revert_all()
    assert session.journal.unreverted() == []


def expired(target: Any) -> list[str]:
    """Return the leases that are over."""
    return [event.subject for event in target.events() if event.reason == "LeaseExpired"]
