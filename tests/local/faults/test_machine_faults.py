"""Faults of machines on a real local platform, seen in its users' rows and in its Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import QUICK, Live, is_whole, live
from projects import wait_for

from faultload.errors import FaultError
from faultload.faults import FaultSession
from faultload.faults.capacity_withhold import WithholdCapacity
from faultload.faults.node_lose import LoseNode
from faultload.faults.spot_advise import AdviseRebalance
from faultload.faults.spot_interrupt import Interruption, InterruptSpot
from faultload.faults.zone_fail import FailZone
from faultload.record import InjectionJournal
from faultload.targets import Capacity, LocalTarget, Mark
from faultload.targets.machine_acts import INTERRUPTION, REBALANCE

pytestmark = pytest.mark.local


def settle(target: LocalTarget) -> None:
    """Have one replica of each tier on each of the two machines, as when the platform came up."""

    def is_spread() -> bool:
        nodes = [node.name for node in target.nodes() if node.ready and node.schedulable]
        if not is_whole(target) or not {"node-a", "node-b"} <= set(nodes):
            return False
        placed: set[tuple[str, str]] = set()
        crowded = [
            one
            for one in target.replicas("engine")
            if (one.tier, one.node) in placed or placed.add((one.tier, one.node))
        ]
        for one in crowded:
            target.delete_replica(one.name, one.uid, 0.0)
        return not crowded

    wait_for(is_spread, 30, "each tier to be spread over both machines")


@pytest.fixture
def spread(watched: Live) -> Iterator[Live]:
    """Return the shared platform with its replicas spread, and leave it so."""
    settle(watched.target)
    yield watched
    settle(watched.target)


def machine_of(done: dict[str, Any]) -> dict[str, Any]:
    """Return the one machine that was hit."""
    (machine,) = done["plan"]["before"]["machines"]
    return dict(machine)


def victims_of(done: dict[str, Any]) -> set[str]:
    """Return the names of the replicas that were hit."""
    return {victim["name"] for victim in done["plan"]["victims"]}


def exists(machine: dict[str, Any]) -> str:
    """Return the query that sums to 1 while this very instance is a node of the cluster."""
    return f'kube_node_info{{provider_id=~".*/{machine["uid"]}"}} or vector(0)'


def named(machine: dict[str, Any]) -> str:
    """Return the query that sums to 1 while a machine of that name is a node."""
    return f'kube_node_info{{node="{machine["name"]}"}} or on() vector(0)'


AVAILABLE = "kube_deployment_status_replicas_available"


def test_lost_machine_stays_away_while_capacity_is_withheld(
    spread: Live, session: FaultSession
) -> None:
    """Its streams are lost, its node goes, and no other comes until the cloud has one."""
    began_s = spread.now_s() - 3
    target = spread.target
    session.apply(WithholdCapacity(target))
    done = session.apply(LoseNode(target))
    machine, victims = machine_of(done), victims_of(done)

    spread.wait_for_query(named(machine), lambda found: found == 0)
    spread.wait_for_rows(
        lambda rows: (rows["served_by"].isin(victims) & (rows["status"] != "ok")).any(),
        "a stream that was lost with the machine",
        began_s,
    )
    wait_for(target.launches_refused, 10, "a launch to be refused")
    lost, offered = session.revert_all()

    assert "did not heal" not in lost["text"]
    assert lost["text"].endswith("2 machines ready")
    assert offered["text"].endswith("launch(es) refused meanwhile")
    spread.wait_for_query(named(machine), lambda found: found == 1)
    spread.wait_for_query(exists(machine), lambda found: found == 0)
    spread.wait_for_query(AVAILABLE, lambda found: found == 4)


def test_interrupted_machine_reads_its_notice_and_loses_no_stream(
    spread: Live, session: FaultSession
) -> None:
    """What is there has left before the machine ends, which it does once it is empty."""
    began_s = spread.now_s() - 3
    done = session.apply(InterruptSpot(spread.target))
    machine, victims = machine_of(done), victims_of(done)
    (outcome,) = session.revert_all()

    assert machine["capacity_type"] == "spot"
    assert done["data"]["notice_s"] == pytest.approx(12, abs=1.5)
    assert done["data"]["ended_with_machine"] == []
    assert "did not heal" not in outcome["text"]
    spread.wait_for_query(exists(machine), lambda found: found == 0)
    rows = spread.rows(began_s)
    theirs = rows[rows["served_by"].isin(victims)]
    assert len(theirs) > 0
    assert (theirs["status"] == "ok").all(), theirs[theirs["status"] != "ok"]


def test_advised_machine_reads_so_and_keeps_its_replicas(
    spread: Live, session: FaultSession
) -> None:
    """The platform waits for the notice, as Karpenter does: the very pods go on serving."""
    done = session.apply(AdviseRebalance(spread.target))
    machine, victims = machine_of(done), victims_of(done)
    advised_s = spread.now_s()

    assert set(spread.target.spot_notices(machine["name"])) == {REBALANCE}
    spread.wait_for_rows(
        lambda rows: victims & set(rows["served_by"]), "its replicas to serve on", advised_s
    )
    session.revert_all()
    spread.wait_for_query(exists(machine), lambda found: found == 1)
    assert spread.query(f'kube_node_spec_unschedulable{{node="{machine["name"]}"}}') == 0


def test_failed_zone_has_no_machine_until_it_is_restored(
    spread: Live, session: FaultSession
) -> None:
    """The other zone takes the replicas, and serves alone while the outage lasts."""
    done = session.apply(FailZone(spread.target))
    machine, victims = machine_of(done), victims_of(done)
    zone, failed_s = done["plan"]["undo"]["zone"], spread.now_s()

    labels = f'kube_node_labels{{label_topology_kubernetes_io_zone="{zone}"}} or on() vector(0)'
    spread.wait_for_query(labels, lambda found: found == 0)
    spread.wait_for_rows(
        lambda rows: (rows["status"] == "ok").sum() > 8, "requests to be served", failed_s
    )
    rows = spread.rows(failed_s)
    assert not victims & set(rows[rows["status"] == "ok"]["served_by"])
    assert spread.target.withheld() == {Capacity(zone=zone)}
    (outcome,) = session.revert_all()

    assert outcome["text"].endswith("2 machines ready")
    assert not spread.target.withheld()
    spread.wait_for_query(labels, lambda found: found == 1)
    spread.wait_for_query(exists(machine), lambda found: found == 0)


def test_acts_on_machines_never_hit_another(spread: Live) -> None:
    """Each names a uid, and only spot machines hear from the cloud."""
    target, mark = spread.target, Mark("a-token", 0.0)
    on_demand, spot = target.nodes()

    for act in (
        lambda: target.lose_node(spot.name, "another"),
        lambda: target.interrupt_spot(spot.name, "another"),
        lambda: target.advise_rebalance(spot.name, "another"),
        lambda: target.interrupt_spot(on_demand.name, on_demand.uid),
        lambda: target.fail_zone("no-such-zone", mark),
        lambda: target.withhold_capacity(Capacity(instance_type="p9.none"), mark),
    ):
        with pytest.raises(FaultError):
            act()
    target.offer_capacity(Capacity(zone=spot.zone), "a-token")
    target.restore_zone(spot.zone, "a-token")

    assert [node.capacity_type for node in (on_demand, spot)] == ["on-demand", "spot"]
    assert list(target.nodes()) == [on_demand, spot]
    assert not target.withheld()
    assert target.spot_notices("no-such-node") == {}
    assert target.ended_with(spot.name, spot.uid, ["fast-0"]) is None


@pytest.mark.full
def test_notice_that_nobody_heeds_costs_what_was_there(tmp_path: Path) -> None:
    """A platform that does not drain: the replicas end with the machine, and streams with them."""
    settings = (*QUICK, "spot.drain_on_notice=false", "spot.notice_s=40")
    with live(tmp_path, settings) as started:
        session = FaultSession(started.target, InjectionJournal(tmp_path / "injections.jsonl"))
        done = session.apply(InterruptSpot(started.target, Interruption(rebalance_s=2)))
        victims, ended_s = victims_of(done), started.now_s()
        session.revert_all()

        assert set(done["data"]["ended_with_machine"]) == victims
        assert INTERRUPTION not in started.target.spot_notices(machine_of(done)["name"])
        started.wait_for_rows(
            lambda rows: (rows["served_by"].isin(victims) & (rows["status"] != "ok")).any(),
            "a stream that was lost with the machine",
            ended_s - 6,
        )
