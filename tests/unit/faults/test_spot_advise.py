"""Advising spot machines: they read it, and that is all."""

from __future__ import annotations

from clock import Clock
from memory import Platform

from faultload.faults.session import FaultSession
from faultload.faults.spot_advise import AdviseRebalance
from faultload.faults.victims import SpotChoice
from faultload.record import InjectionJournal


def test_advice_alone_takes_nothing_away(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """It is proven by what the machine reads, and counts as if it were heeded."""
    session = FaultSession(two_zones, journal)

    done = session.apply(AdviseRebalance(two_zones, SpotChoice()))
    (outcome,) = session.revert_all()

    assert done["text"] == "node-b read the advice to rebalance"
    assert done["plan"]["hit"] == {"engine": [2, 4]}
    assert "did not heal" not in outcome["text"]
    assert len(two_zones.engines) == 4
