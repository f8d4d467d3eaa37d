"""Placement and back-off: pure, so every rule is checked without a process."""

from typing import Any

import pytest

from inference_platform.local import placement
from inference_platform.local.config import PlatformConfig, Restart


def config(replicas: dict[str, int], gpus: dict[str, int]) -> PlatformConfig:
    """A configuration with nothing but tiers and nodes."""
    node: dict[str, Any] = {
        "zone": "z",
        "instance_type": "t",
        "capacity_type": "spot",
        "price_usd_per_hour": 1,
    }
    return PlatformConfig.model_validate(
        {
            "tiers": {name: {"model": name, "replicas": n} for name, n in replicas.items()},
            "nodes": {name: {**node, "gpus": n} for name, n in gpus.items()},
        }
    )


def test_each_tier_is_spread_over_the_nodes() -> None:
    """Losing one of two nodes leaves a replica of every tier."""
    placed = placement.place(config({"fast": 2, "slow": 2}, {"a": 4, "b": 4}))

    assert [(r.name, r.node) for r in placed] == [
        ("fast-0", "a"),
        ("fast-1", "b"),
        ("slow-0", "a"),
        ("slow-1", "b"),
    ]


def test_a_full_node_takes_no_more() -> None:
    """A replica needs a free GPU, even where its tier would be better spread without."""
    placed = placement.place(config({"fast": 4}, {"a": 1, "b": 3}))

    assert sorted(r.node for r in placed) == ["a", "b", "b", "b"]


def test_numbers_are_unique_over_all_tiers() -> None:
    """Addresses and seeds come from the number, so no two replicas may share one."""
    placed = placement.place(config({"fast": 3, "slow": 2}, {"a": 8}))

    assert [r.number for r in placed] == [0, 1, 2, 3, 4]


def test_the_back_off_doubles_to_its_bound() -> None:
    """A process that keeps dying waits longer each time, but never longer than the bound."""
    backoff = placement.Backoff(Restart(backoff_s=1, backoff_s_max=5, reset_after_s=10))

    assert [backoff.next_s(ready_s=0) for _ in range(4)] == [1, 2, 4, 5]


@pytest.mark.parametrize(("ready_s", "pause_s"), [(9.9, 2), (10, 1)])
def test_a_good_while_ready_begins_the_back_off_anew(ready_s: float, pause_s: float) -> None:
    """Two trials that are far enough apart must see the same recovery."""
    backoff = placement.Backoff(Restart(backoff_s=1, backoff_s_max=5, reset_after_s=10))
    backoff.next_s(ready_s=0)

    assert backoff.next_s(ready_s=ready_s) == pause_s
