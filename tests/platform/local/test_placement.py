"""Placement and back-off: pure, so every rule is checked without a process."""

import pytest

from inference_platform.local.placement import Backoff, Room, choose
from inference_platform.local.settings import Restart


def room(
    name: str, zone: str = "a", *, free: int = 4, on_demand: bool = True, is_open: bool = True
) -> Room:
    """One node."""
    return Room(name, zone, on_demand, free, is_open)


def spread(count: int, *rooms: Room) -> list[str | None]:
    """Place so many replicas of one tier, one after the other."""
    placed: list[str | None] = []
    for _ in range(count):
        left = [
            Room(r.name, r.zone, r.on_demand, r.free_gpus - placed.count(r.name), r.open)
            for r in rooms
        ]
        placed.append(choose(1, [name for name in placed if name], left))
    return placed


def test_each_tier_is_spread_over_zones_then_nodes() -> None:
    """Losing one node, or one zone, leaves a replica of every tier."""
    rooms = [room("a1"), room("a2"), room("b1", "b")]

    assert spread(2, *rooms) == ["a1", "b1"]
    assert spread(4, *rooms) == ["a1", "b1", "a2", "b1"]


def test_the_first_place_is_on_demand() -> None:
    """Spot machines may all go at once; the last replica of a tier must not go with them."""
    rooms = [room("spot", on_demand=False, free=8), room("sure", free=1)]

    assert spread(2, *rooms) == ["sure", "spot"]


def test_a_full_or_closed_node_takes_no_more() -> None:
    """A replica needs free GPUs on a node that is ready and not cordoned."""
    rooms = [room("full", free=1), room("cordoned", is_open=False), room("free")]

    assert choose(2, [], rooms) == "free"
    assert choose(8, [], rooms) is None


def test_the_back_off_doubles_to_its_bound() -> None:
    """A process that keeps dying waits longer each time, but never longer than the bound."""
    backoff = Backoff(Restart(backoff_s=10, backoff_s_max=50), time_scale=0.1)

    assert [backoff.next_s(ready_s=0) for _ in range(4)] == pytest.approx([1, 2, 4, 5])


@pytest.mark.parametrize(("ready_s", "pause_s"), [(0.9, 2), (1, 1)])
def test_a_good_while_ready_begins_the_back_off_anew(ready_s: float, pause_s: float) -> None:
    """Two trials that are far enough apart must see the same recovery."""
    backoff = Backoff(Restart(backoff_s=10, backoff_s_max=50, reset_after_s=10), time_scale=0.1)
    backoff.next_s(ready_s=0)

    assert backoff.next_s(ready_s=ready_s) == pytest.approx(pause_s)
