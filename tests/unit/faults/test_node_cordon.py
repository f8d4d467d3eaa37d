"""Cordoning nodes: proven by what the platform says of them, undone by our own mark alone."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits, Radius
from faultload.faults.node_cordon import CordonNode
from faultload.faults.replica_kill import KillReplica
from faultload.faults.session import FaultSession
from faultload.faults.victims import Choice, NodeChoice
from faultload.record import InjectionJournal


@pytest.fixture
def platform() -> Platform:
    """Return two machines, the second the busier one."""
    return Platform(replica("a"), replica("b", node="node-b", inflight=4))


def test_busiest_node_is_closed_and_opened_again(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The victim is the machine; doing the undo twice does nothing more."""
    session = FaultSession(platform, journal)

    done = session.apply(CordonNode(platform))
    assert [victim["name"] for victim in done["plan"]["victims"]] == ["node-b"]
    assert done["text"] == "node-b closed to new replicas"
    assert platform.marks["node-b"].token == done["injection_id"]
    session.revert_all()
    session.revert_all()

    assert platform.acts == [("cordon", "node-b"), ("uncordon", "node-b")]
    assert platform.machines["node-b"].schedulable


def test_cordon_without_effect_is_not_proven(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """An answer is no evidence."""
    platform.deaf = True

    with pytest.raises(FaultError, match="expected node-b to be closed to new replicas within 30"):
        FaultSession(platform, journal).apply(CordonNode(platform))


def test_node_that_was_replaced_took_its_cordon_along(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A machine of the same name is another one: it is left alone, and the fault is gone."""
    session = FaultSession(platform, journal)
    session.apply(CordonNode(platform))
    platform.machines["node-b"] = replace(
        platform.machines["node-b"], uid="i-other", schedulable=True
    )

    (outcome,) = session.revert_all()

    assert outcome["text"] == "node-b open to new replicas; 1 of them gone"
    assert platform.acts == [("cordon", "node-b")]


def test_somebody_elses_cordon_is_no_victim_and_not_taken_back(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A node cordoned already is not chosen; one that another took over stays as it is, and said.

    Nobody may call the fault gone while the node is closed, whoever closed it.
    """
    platform.machines["node-b"] = replace(platform.machines["node-b"], schedulable=False)
    session = FaultSession(platform, journal)
    done = session.apply(CordonNode(platform))
    assert [victim["name"] for victim in done["plan"]["victims"]] == ["node-a"]
    del platform.marks["node-a"]

    with pytest.raises(FaultError, match="still in force: .*node-a to be open"):
        session.revert_all()

    assert not platform.machines["node-b"].schedulable


@pytest.mark.parametrize(
    "limits",
    [
        Limits(radius={"engine": Radius(1)}),
        Limits(share_max=0.4),
        Limits(healthy_min={"engine": 3}),
    ],
)
def test_each_limit_counts_the_replicas_on_the_node(limits: Limits) -> None:
    """A node counts as much as it carries: two replicas are over a radius of one."""
    platform = Platform(
        replica("a"), replica("b", node="node-b", inflight=1), replica("c", node="node-b")
    )

    with pytest.raises(RefusedError):
        CordonNode(platform, NodeChoice(), limits).plan()


def test_half_a_cordon_is_reverted(journal: InjectionJournal, clock: Clock) -> None:
    """When the second node is another by now, the first one's cordon is taken back all the same."""
    platform = Platform(replica("a"), replica("b", node="node-b"))
    fault = CordonNode(platform, NodeChoice(nodes=2))
    chosen = [victim["name"] for victim in fault.plan().victims]
    session = FaultSession(platform, journal)
    plan = fault.plan
    second = platform.machines[chosen[1]]

    def plan_and_replace() -> object:
        made = plan()
        platform.machines[chosen[1]] = replace(second, uid="i-other")
        return made

    fault.plan = plan_and_replace  # type: ignore[method-assign, assignment]
    with pytest.raises(FaultError, match="another by now"):
        session.apply(fault)
    session.revert_all()

    assert platform.acts == [("cordon", chosen[0]), ("uncordon", chosen[0])]
    assert journal.unreverted() == []


def test_mark_expires_by_the_clock_of_the_target(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Whoever undoes it later, from whatever machine, can ask that clock."""
    platform.ahead_s = 5000.0

    FaultSession(platform, journal, 60.0).apply(CordonNode(platform))

    assert platform.marks["node-b"].expires_unix_s > time.time() + 5000.0


def test_defect_in_one_undo_stops_no_other(
    platform: Platform,
    journal: InjectionJournal,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What nobody foresaw is said after all were tried, as any other failure is."""
    session = FaultSession(platform, journal)
    session.apply(CordonNode(platform))
    session.apply(KillReplica(platform, Choice()))
    monkeypatch.setattr(KillReplica, "revert", lambda *_: {}["no such key"])

    with pytest.raises(FaultError, match="still in force: kill_replica-.*KeyError"):
        session.revert_all()

    assert platform.machines["node-b"].schedulable
