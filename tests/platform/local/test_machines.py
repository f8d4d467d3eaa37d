"""Machines, capacity and EC2's notices, on a clock of the test's own."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from inference_platform.local.errors import OrderError
from inference_platform.local.interruptions import Interruptions, metadata
from inference_platform.local.kube_state import KubeState
from inference_platform.local.machines import Machine, Machines, Shortage
from inference_platform.local.settings import PlatformConfig

INSTANCE = {"instance_type": "g6.12xlarge", "price_usd_per_hour": 1, "gpus": 4}


def config(**changes: Any) -> PlatformConfig:
    """One on-demand machine in zone a, a spot one in b, and a pool for both zones."""
    return PlatformConfig.model_validate(
        {
            "tiers": {"fast": {"model": "chat-fast"}},
            "nodes": {
                "node-a": {**INSTANCE, "zone": "a", "capacity_type": "on-demand"},
                "node-b": {**INSTANCE, "zone": "b", "capacity_type": "spot"},
            },
            "pools": {
                "extra": {**INSTANCE, "zones": ["a", "b"], "capacity_type": "spot", "nodes_max": 1}
            },
            **changes,
        }
    )


class World:
    """Machines, EC2 and a clock that the test turns."""

    def __init__(self, **changes: Any) -> None:
        self.now_s = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.reasons: list[str] = []
        self.drained: list[str] = []
        self.config = config(**changes)
        note = lambda reason, _obj, _text: self.reasons.append(reason)  # noqa: E731
        later = lambda s, what: self.due.append((self.now_s + s, what))  # noqa: E731
        self.machines = Machines(self.config, note, later)
        self.ec2 = Interruptions(
            self.config,
            self.machines,
            note,
            later,
            lambda m: self.drained.append(m.name),
            self.lose,
        )

    def lose(self, machine: Machine, why: str, listed_s: float) -> None:
        """Without replicas there is nothing else to end."""
        self.machines.lose(machine, why, listed_s=listed_s)

    def go(self, seconds: float) -> None:
        """Let time pass, and the platform look what is missing."""
        self.now_s += seconds
        while ready := [entry for entry in self.due if entry[0] <= self.now_s]:
            for entry in ready:
                self.due.remove(entry)
                entry[1]()
        self.machines.launch_missing(0, 0)

    @property
    def states(self) -> dict[str, str]:
        """State by name."""
        return {name: machine.state for name, machine in self.machines.by_name.items()}


def test_a_lost_machine_of_a_node_group_comes_back_as_another_instance() -> None:
    """Its node stays listed for the heartbeat's patience, then the group launches a new one."""
    world = World()
    before = world.machines.by_name["node-a"].instance_id

    world.ec2.terminate("node-a")
    assert world.states["node-a"] == "lost"
    world.go(49)
    assert world.states["node-a"] == "lost"
    world.go(2)
    assert world.states["node-a"] == "launching"
    world.go(61)
    after = world.machines.by_name["node-a"]

    assert after.state == "ready"
    assert after.instance_id != before
    assert not after.has_image


def test_durations_are_scaled() -> None:
    """The same life in a tenth of the time."""
    world = World(time_scale=0.1)

    world.ec2.terminate("node-a")
    world.go(5.1)
    world.go(6.1)

    assert world.states["node-a"] == "ready"


def test_replicas_without_a_place_get_a_machine_and_an_empty_one_goes() -> None:
    """One at a time, no more than the pool may have, and not for ever."""
    world = World(node_life={"empty_for_s": 0})
    world.machines.launch_missing(wanted_gpus=6, largest=1)
    world.machines.launch_missing(wanted_gpus=6, largest=1)  # the first one is not enough

    assert world.states["extra-1"] == "launching"
    assert "extra-2" not in world.states
    world.go(61)
    world.machines.remove_empty(["extra-1"])
    assert world.states["extra-1"] == "ready"
    world.machines.remove_empty([])
    world.go(0)
    assert "extra-1" not in world.states


@pytest.mark.parametrize(
    ("shortage", "zone"),
    [
        (Shortage(), None),
        (Shortage(capacity_type="spot"), None),
        (Shortage(zone="a"), "b"),
        (Shortage(capacity_type="on-demand"), "a"),
        (Shortage(instance_type="p5.48xlarge"), "a"),
    ],
)
def test_no_capacity_means_no_machine_until_it_is_back(
    shortage: Shortage, zone: str | None
) -> None:
    """A shortage covers zones and kinds; another zone is tried first."""
    world = World()
    world.machines.run_short(shortage)
    world.machines.launch_missing(1, 1)

    launched = world.machines.by_name.get("extra-1")
    assert (launched.spec.zone if launched else None) == zone
    world.machines.recover(shortage)
    world.machines.launch_missing(1, 1)
    assert "extra-1" in world.states


def test_a_launch_that_is_refused_is_said_once_a_shortage() -> None:
    """Asked for several times a second, a node group's and a pool's refusal are an event each."""
    world = World()
    for _ in range(2):
        world.machines.run_short(Shortage())
        world.ec2.terminate("node-a")
        world.go(51)
        world.machines.launch_missing(1, 1)
        world.machines.launch_missing(1, 1)
        assert world.reasons.count("LaunchFailed") == 2
        world.machines.recover(Shortage())
        world.go(0)
        world.go(61)
        world.machines.remove_empty([])
        world.reasons.clear()


def test_a_pool_of_machines_that_are_too_small_is_not_asked() -> None:
    """A replica of eight GPUs would wait for ever on machines of four."""
    world = World()
    world.machines.launch_missing(wanted_gpus=8, largest=8)

    assert "extra-1" not in world.states


def test_a_spot_machine_has_two_minutes() -> None:
    """Notice, drain, end; the notice stands, and is in the metadata with EC2's paths and shapes."""
    world = World()
    machine = world.machines.by_name["node-b"]
    assert metadata(machine, "meta-data/spot/instance-action")[0] == 404
    assert metadata(machine, "meta-data/events/recommendations/rebalance")[0] == 404

    gone_unix = world.ec2.interrupt("node-b")
    status, action = metadata(machine, "meta-data/spot/instance-action")

    assert (status, action["action"]) == (200, "terminate")
    assert action["time"].endswith("Z")
    assert metadata(machine, "meta-data/spot/termination-time") == (200, action["time"])
    assert "noticeTime" in metadata(machine, "meta-data/events/recommendations/rebalance")[1]
    assert world.ec2.interrupt("node-b") == gone_unix
    assert world.drained == ["node-b"]
    world.go(119)
    assert world.states["node-b"] == "ready"
    world.go(2)
    assert world.states["node-b"] == "launching"


def test_without_a_handler_nobody_drains() -> None:
    """The badly configured platform: the machine just goes, and is missed only later."""
    world = World(spot={"drain_on_notice": False})
    world.ec2.interrupt("node-b")
    world.go(121)

    assert world.drained == []
    assert world.states["node-b"] == "lost"


@pytest.mark.parametrize(("reacts", "drained"), [(False, []), (True, ["node-b"])])
def test_rebalance_advice_is_only_advice(reacts: bool, drained: list[str]) -> None:
    """Who reacts to it is configured; the machine itself stays."""
    world = World(spot={"drain_on_rebalance": reacts})
    world.ec2.advise("node-b")
    world.go(1000)

    assert world.drained == drained
    assert world.states["node-b"] == "ready"


def test_a_zone_fails_with_its_capacity_and_comes_back() -> None:
    """No machine there can be replaced there until the zone is back."""
    world = World()
    world.ec2.fail_zone("a")
    world.go(51)
    assert world.states == {"node-b": "ready"}
    world.ec2.restore_zone("a")
    world.go(0)
    world.go(61)
    assert world.states == {"node-a": "ready", "node-b": "ready"}


@pytest.mark.parametrize(
    ("order", "name", "status"),
    [
        ("interrupt", "node-a", 409),
        ("interrupt", "node-z", 404),
        ("advise", "node-a", 409),
        ("fail_zone", "z", 404),
    ],
)
def test_orders_that_make_no_sense_are_refused(order: str, name: str, status: int) -> None:
    """EC2 interrupts spot machines only, and knows its zones."""
    with pytest.raises(OrderError) as refused:
        getattr(World().ec2, order)(name)

    assert refused.value.status == status
    assert name in str(refused.value)


def test_what_is_paid_for_has_a_price_from_its_launch_to_its_end() -> None:
    """A bill is worked out from it: neither what boots nor what is only listed is mistaken."""
    world = World()
    cluster: Any = SimpleNamespace(
        config=world.config,
        machines=world.machines,
        pods={},
        tiers={},
        scaler=None,
        gpus=SimpleNamespace(works=lambda *_: True),
    )

    def paid() -> dict[str, float]:
        return {
            sample.labels["node"]: sample.value
            for family in KubeState(cluster).collect()
            if family.name == "node_total_hourly_cost"
            for sample in family.samples
        }

    assert paid() == {"node-a": 1.0, "node-b": 1.0}
    world.machines.lose(world.machines.named("node-b"), "gone", listed_s=50.0)
    assert paid() == {"node-a": 1.0}
    world.go(51)
    assert world.machines.named("node-b").state == "launching"
    assert paid() == {"node-a": 1.0, "node-b": 1.0}
