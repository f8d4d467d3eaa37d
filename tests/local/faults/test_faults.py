"""What single faults leave on a real local platform, and whom its acts hit."""

from __future__ import annotations

import pytest
from projects import wait_for

from faultload.errors import FaultError
from faultload.faults import FAULTS, FaultSession
from faultload.faults.node_drain import DrainNode
from faultload.faults.replica_delete import DeleteReplica, Deletion
from faultload.faults.replica_evict import Eviction, EvictReplica
from faultload.targets import SCALE_WORKLOAD, TERMINATE_PODS, LocalTarget, Mark, Replica

pytestmark = pytest.mark.local


def ready(platform: LocalTarget, tier: str) -> list[Replica]:
    """Return a tier's ready replicas."""
    return [one for one in platform.replicas("engine") if one.ready and one.tier == tier]


def test_every_fault_s_capability_is_one_of_the_platform(platform: LocalTarget) -> None:
    """What can be tried on a laptop is tried there; only a cluster has Kubernetes' words."""
    needed = {fault.capability for fault in FAULTS.values()}
    assert needed - platform.capabilities == {SCALE_WORKLOAD, TERMINATE_PODS}


def test_deleted_replica_comes_back_under_another_name(
    session: FaultSession, platform: LocalTarget
) -> None:
    """As a Deployment's pods do: the tier is whole, the name is gone for good."""
    done = session.apply(DeleteReplica(platform, Deletion(tier="fast")))
    session.revert_all()

    victim = done["plan"]["victims"][0]["name"]
    assert victim not in {one.name for one in ready(platform, "fast")}


def test_budget_refuses_the_second_eviction_until_the_first_is_replaced(
    session: FaultSession, platform: LocalTarget
) -> None:
    """Of two replicas one may be disrupted: the other is refused, in the platform's own words."""
    done = session.apply(EvictReplica(platform, Eviction(tier="fast", replicas=2, timeout_s=30)))

    (refused,) = done["data"]["refusals"]
    assert refused["replica"] == done["plan"]["victims"][1]["name"]
    assert refused["reason"].startswith("Cannot evict pod as it would violate")
    session.revert_all()


def test_drained_node_is_empty_and_takes_nobody(
    session: FaultSession, platform: LocalTarget
) -> None:
    """What was there is on another machine while the drain lasts."""
    done = session.apply(DrainNode(platform))
    node = done["plan"]["undo"]["uncordon"][0]["name"]
    wait_for(lambda: len(ready(platform, "fast")) == 2, 30, "the tier to be whole elsewhere")

    assert platform.occupants(node) == []
    session.revert_all()


def test_partitioned_replica_stays_ready_and_keeps_its_other_conditions(
    session: FaultSession, platform: LocalTarget
) -> None:
    """Probes do not pass the link; a latency that somebody set is there afterwards too."""
    victim = ready(platform, "fast")[0]
    platform._control.call("POST", f"/v1/links/{victim.name}", body={"latency_s": 0.01})
    mark = Mark("a-token", 0.0)

    platform.partition([(victim.name, victim.uid)], mark)
    cut_off = platform.partitioned("a-token")
    still_ready = victim.uid in {one.uid for one in ready(platform, "fast")}
    platform.join([(victim.name, victim.uid), ("gone-7", "u-7")], "a-token")
    platform.join([(victim.name, victim.uid)], "a-token")

    links = {link["name"]: link for link in platform._control.call("GET", "/v1/state")["links"]}
    platform._control.call("POST", f"/v1/links/{victim.name}", body={})
    assert set(cut_off) == {victim.uid}
    assert still_ready
    assert (links[victim.name]["partitioned"], links[victim.name]["latency_s"]) == (False, 0.01)
    assert not platform.partitioned("a-token")


def test_acts_never_hit_another(platform: LocalTarget) -> None:
    """Each act names a uid; one that is another by now is an error, and nothing happens."""
    victim, node = ready(platform, "fast")[0].name, platform.nodes()[0].name
    mark = Mark("a-token", 0.0)

    assert platform.evict_replica(victim, "another") is None
    platform.uncordon_node(node, "another", "a-token")
    platform.continue_engine(victim, "another")
    for act in (
        lambda: platform.delete_replica(victim, "another", None),
        lambda: platform.cordon_node(node, "another", mark),
        lambda: platform.partition([(victim, "another")], mark),
        lambda: platform.stop_engine(victim, "another"),
        lambda: platform.kill_engine(victim, "another"),
        lambda: platform.hold_gpu_memory(victim, "another"),
        lambda: platform.raise_xid(victim, "another", 79),
        lambda: platform.slow_engine(victim, "another", 3),
    ):
        with pytest.raises(FaultError):
            act()

    assert len(ready(platform, "fast")) == 2
    assert all(one.schedulable for one in platform.nodes())
    assert not platform.partitioned("a-token")


def test_hung_engine_is_ready_and_working_ones_do_not_hang(platform: LocalTarget) -> None:
    """The grey failure: readiness sees nothing, the tokens that do not come tell them apart."""
    hung, working = ready(platform, "fast")
    platform.stop_engine(hung.name, hung.uid)
    try:
        pulses = [platform.pulse(one.name, one.uid) for one in (hung, working)]
        still_ready = {one.uid for one in ready(platform, "fast")}
    finally:
        platform.continue_engine(hung.name, hung.uid)

    assert [(one.hangs, one.beats) for one in pulses if one] == [(True, False), (False, True)]
    assert still_ready == {hung.uid, working.uid}
    assert platform.pulse(hung.name, "another") is None
