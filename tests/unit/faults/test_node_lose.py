"""Losing machines: proven when the platform itself has noticed, and told when it heals."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits, Radius
from faultload.faults.node_lose import LoseNode
from faultload.faults.session import FaultSession
from faultload.faults.victims import NodeChoice
from faultload.record import InjectionJournal


def test_busiest_machine_is_lost_with_its_replicas(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The victims are its replicas; a machine of the same name is another one, and heals it."""
    session = FaultSession(two_zones, journal)

    done = session.apply(LoseNode(two_zones))
    (outcome,) = session.revert_all()

    assert [victim["name"] for victim in done["plan"]["victims"]] == ["c", "d"]
    assert done["plan"]["whom"] == "node-b with c, d"
    assert done["text"].startswith("node-b ended, and c, d with it")
    assert outcome["text"].endswith("2 machines ready")
    assert two_zones.acts == [("lose", "node-b")]


def test_machine_that_goes_on_is_not_proven_lost(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """An answer is no evidence."""
    two_zones.deaf = True

    with pytest.raises(FaultError, match="expected node-b to have ended.* within 90 s"):
        FaultSession(two_zones, journal).apply(LoseNode(two_zones))


def test_replica_that_stays_ready_is_not_proven_lost(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Nor is a machine that is no longer listed, while its replicas are called ready."""
    two_zones.lose_node = lambda node, _uid: two_zones.machines.pop(node)  # type: ignore[assignment, return-value]

    with pytest.raises(FaultError, match="'replicas_ready': \\['c', 'd'\\]"):
        FaultSession(two_zones, journal).apply(LoseNode(two_zones))


def test_platform_that_does_not_heal_is_no_error(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Whether it heals is for the judge; what is missing is said."""
    two_zones.heals = False
    session = FaultSession(two_zones, journal)
    session.apply(LoseNode(two_zones))

    (outcome,) = session.revert_all()

    assert "the machine is lost, and the platform did not heal" in outcome["text"]
    assert "its machines are not back: expected 2 ready machines" in outcome["text"]
    assert journal.unreverted() == []


def test_limits_count_all_replicas_on_the_machine(two_zones: Platform) -> None:
    """A machine counts as much as it carries."""
    with pytest.raises(RefusedError, match="hitting 2 of 4"):
        LoseNode(two_zones, NodeChoice(), Limits(radius={"engine": Radius(1)})).plan()
