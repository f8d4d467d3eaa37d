"""Draining nodes: everybody planned leaves, what belongs there stays, what forbids it is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits, Radius
from faultload.faults.node_drain import Drain, DrainNode
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal
from faultload.targets import Occupant, Refusal, Replica

BUDGET = Refusal("Cannot evict pod as it would violate the budget.", 2.0)


@pytest.fixture
def platform() -> Platform:
    """Return two machines; the busier one carries two replicas and an agent of its own."""
    made = Platform(
        replica("a"),
        replica("b", node="node-b", inflight=4),
        replica("c", node="node-b", tier="slow"),
        replica("d", tier="slow"),
    )
    made.residents["node-b"] = [
        Occupant("agent", "u-agent", "", stays="it belongs to a DaemonSet"),
        Occupant("batch-job", "u-job", ""),
    ]
    return made


def test_planned_leave_and_the_node_is_opened_again(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Replicas and strangers alike are evicted; the agent is listed and stays; undo is by token."""
    session = FaultSession(platform, journal)

    done = session.apply(DrainNode(platform))
    left = [one.name for one in platform.occupants("node-b")]
    (outcome,) = session.revert_all()

    assert [v["name"] for v in done["plan"]["victims"]] == ["b", "c", "batch-job"]
    assert left == ["agent"]
    assert "b, c, batch-job left; agent stays: it belongs to a DaemonSet" in done["text"]
    assert platform.acts[0] == ("cordon", "node-b")
    assert platform.acts[-1] == ("uncordon", "node-b")
    assert "node-b open to new replicas" in outcome["text"]
    assert "; b, c replaced after" in outcome["text"]


def test_what_forbids_a_drain_is_named_and_nothing_is_touched(platform: Platform) -> None:
    """A pod that nobody would make anew: each one is in the error, before any act."""
    platform.residents["node-b"] += [
        Occupant("lonely", "u-1", "", forbids="nobody would replace it"),
        Occupant("scratch", "u-2", "", forbids="its data would be lost"),
    ]

    with pytest.raises(
        FaultError,
        match=r"lonely on node-b \(nobody would replace it\); scratch on node-b \(its data",
    ):
        DrainNode(platform).plan()

    assert platform.acts == []


def test_refused_evictions_are_asked_again(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A budget slows a drain down; the others need not wait for the one that is refused."""
    platform.refusals = [BUDGET]

    done = FaultSession(platform, journal).apply(DrainNode(platform))

    evicted = [name for verb, name in platform.acts if verb == "evict"]
    assert evicted == ["b", "c", "batch-job", "b"]
    assert "b was refused 1 time(s)" in done["text"]


def test_drain_that_is_not_over_in_time_is_reverted(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Half a drain is an error that quotes the last refusal; the cordon comes off all the same."""
    platform.refusals = [BUDGET] * 99
    session = FaultSession(platform, journal)

    with pytest.raises(FaultError, match="expected b, c, batch-job to have left within 9 s; refus"):
        session.apply(DrainNode(platform, Drain(timeout_s=9)))
    assert not platform.machines["node-b"].schedulable
    session.revert_all()
    session.revert_all()

    assert platform.machines["node-b"].schedulable
    assert [verb for verb, _ in platform.acts].count("uncordon") == 1
    assert journal.unreverted() == []


def test_process_started_again_in_place_has_not_left(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Another uid under the same name on the same node: it is still there, and is evicted."""
    fault = DrainNode(platform)
    plan = fault.plan()
    platform.engines["b"] = replace(platform.engines["b"], uid="u-b'")

    fault.inject(plan)

    assert "b" not in platform.engines


def test_drain_without_effect_is_not_proven(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Evictions that are granted and not done leave everybody there."""
    platform.deaf = True

    with pytest.raises(FaultError, match="to have left within 120 s; none was refused"):
        FaultSession(platform, journal).apply(DrainNode(platform))


def test_platform_that_does_not_heal_is_for_the_judge_and_a_cordon_is_not(
    journal: InjectionJournal, clock: Clock
) -> None:
    """Missing replacements are said; a node that is still cordoned is a fault still in force."""
    platform = Platform(replica("a"), replica("b", node="node-b", inflight=1), heals=False)
    session = FaultSession(platform, journal)
    session.apply(DrainNode(platform))
    mark = platform.marks.pop("node-b")
    with pytest.raises(FaultError, match="node-b to be open to new replicas"):
        session.revert_all()
    platform.marks["node-b"] = mark

    (outcome,) = session.revert_all()

    assert "the drain is over, and the platform did not heal" in outcome["text"]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(radius={"engine": Radius(1)}), "hitting 2 of 4 ready engine replicas"),
        (Limits(share_max=0.4), "over the blast radius of 40%"),
        (Limits(healthy_min={"engine": 3}), "healthy_min wants 3"),
        (Limits(healthy_min={"router": 1}), "hitting 1 of 1 ready router replicas leaves 0"),
    ],
)
def test_each_limit_refuses(platform: Platform, limits: Limits, said: str) -> None:
    """All that is ready on the node counts, other components of the target too."""
    platform.others = [
        Replica("router", "r", "u-r", "", "node-b", "", ready=True, restarts=0, inflight=None)
    ]

    with pytest.raises(RefusedError, match=said):
        DrainNode(platform, Drain(), limits).plan()

    assert platform.acts == []
