"""Failing a zone: its machines end, and its capacity is proven to be given back."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform

from faultload.errors import FaultError
from faultload.faults.session import FaultSession
from faultload.faults.zone_fail import FailZone, ZoneChoice
from faultload.record import InjectionJournal
from faultload.targets import Capacity


def test_zone_fails_with_its_capacity_and_is_restored(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Nothing is launched there until the fault is reverted; doing that twice does nothing more."""
    session = FaultSession(two_zones, journal)

    done = session.apply(FailZone(two_zones))
    assert done["plan"]["whom"] == "zone zone-b: node-b with c, d"
    assert done["plan"]["hit"] == {"engine": [2, 4]}
    assert two_zones.shortages == [Capacity(zone="zone-b")]
    session.revert_all()
    session.revert_all()

    assert two_zones.shortages == []
    assert two_zones.acts == [("fail", "zone-b"), ("offer", "any machine in zone-b")]


def test_zone_without_ready_replicas_is_an_error(two_zones: Platform) -> None:
    """A fault aimed at nothing is never a success; nor is one that is in force already."""
    with pytest.raises(FaultError, match="expected a zone with ready engine replicas of tier 'no'"):
        FailZone(two_zones, ZoneChoice(tier="no")).plan()

    two_zones.shortages.append(Capacity(zone="zone-b"))
    with pytest.raises(FaultError, match="zone-b is withheld already"):
        FailZone(two_zones).plan()


def test_zone_that_stays_withheld_is_still_in_force(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """What we changed must be proven undone."""
    session = FaultSession(two_zones, journal)
    session.apply(FailZone(two_zones))
    two_zones.restore_zone = lambda _zone, _token: None  # type: ignore[method-assign]

    with pytest.raises(FaultError, match="still in force: .*any machine in zone-b to be offered"):
        session.revert_all()
