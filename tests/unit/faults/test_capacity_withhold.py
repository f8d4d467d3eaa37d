"""Withholding capacity: said by the platform, counted, and offered again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clock import Clock
from memory import Platform

from faultload.errors import FaultError
from faultload.faults.capacity_withhold import Shortage, WithholdCapacity
from faultload.faults.node_lose import LoseNode
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal
from faultload.targets import Capacity


def test_capacity_is_withheld_and_offered_again(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Of that kind alone; what was refused meanwhile is counted."""
    session = FaultSession(two_zones, journal)
    fault = WithholdCapacity(two_zones, Shortage(zone="zone-b", capacity_type="spot"))

    done = session.apply(fault)
    assert done["plan"]["hit"] == {}
    assert two_zones.withheld() == [Capacity("zone-b", "spot")]
    two_zones.refused = 2
    (outcome,) = session.revert_all()

    assert done["text"] == "spot in zone-b is withheld"
    assert outcome["text"] == "spot in zone-b is offered again; 2 launch(es) refused meanwhile"
    assert two_zones.withheld() == []


@pytest.mark.parametrize(
    ("refused", "said"),
    [(0, "none was asked"), (None, "whether a launch was refused is not known")],
)
def test_shortage_that_nobody_met_is_told(
    two_zones: Platform,
    journal: InjectionJournal,
    clock: Clock,
    refused: int | None,
    said: str,
) -> None:
    """A run in which nothing was launched tried nothing: the reader must be able to see that."""
    two_zones.refused = refused
    session = FaultSession(two_zones, journal)
    session.apply(WithholdCapacity(two_zones))

    (outcome,) = session.revert_all()

    assert said in outcome["text"]


def test_capacity_that_somebody_withholds_is_not_ours(two_zones: Platform) -> None:
    """Else reverting would offer what another withheld."""
    two_zones.shortages.append(Capacity(capacity_type="spot"))

    with pytest.raises(FaultError, match="spot in any zone is withheld already"):
        WithholdCapacity(two_zones, Shortage(capacity_type="spot")).plan()
    WithholdCapacity(two_zones, Shortage(capacity_type="on-demand")).plan()


def test_withholding_without_effect_is_not_proven(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The platform must say so itself."""
    two_zones.deaf = True

    with pytest.raises(FaultError, match="expected any machine in any zone to be withheld"):
        FaultSession(two_zones, journal).apply(WithholdCapacity(two_zones))


def test_all_harm_is_taken_back_before_any_is_proven_gone(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A machine comes back only when the cloud has some again: waiting for it first is in vain."""
    session = FaultSession(two_zones, journal)
    session.apply(WithholdCapacity(two_zones))
    session.apply(LoseNode(two_zones))
    lost = replace(two_zones.machines["node-a"], name="node-b", uid="i-new")
    two_zones.offer_capacity = lambda kind, _token: (  # type: ignore[method-assign]
        two_zones._offer(kind),
        two_zones.machines.update({"node-b": lost}),
    )

    machine, capacity = session.revert_all()

    assert machine["text"].endswith("2 machines ready")
    assert capacity["text"].endswith("1 launch(es) refused meanwhile")
