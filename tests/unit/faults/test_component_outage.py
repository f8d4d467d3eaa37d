"""A dependency that is gone whole: nothing of it ready, nobody listening, until it is reverted."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.component_outage import Absence, Outage
from faultload.faults.limits import Limits, Radius
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal
from faultload.targets import Replica, Workload


@pytest.fixture
def platform() -> Platform:
    """Return a platform with a Redis."""
    made = Platform(replica("a"))
    made.others = [Replica("redis", "redis-0", "u-redis", "", "node-a", "zone-a", True, 0, None)]
    made.tiers["redis"] = Workload("redis", "w-redis", "redis", "", 1, "")
    return made


@pytest.mark.parametrize(
    ("listens", "said"),
    [
        (False, "nothing of redis is ready, connections are refused"),
        (None, "nothing of redis is ready"),
    ],
)
def test_outage_lasts_until_it_is_undone_from_the_journal_alone(
    platform: Platform,
    journal: InjectionJournal,
    clock: Clock,
    listens: bool | None,
    said: str,
) -> None:
    """It is a scale to 0; where nobody can tell whether somebody listens, readiness is it."""
    platform.listens = listens
    done = FaultSession(platform, journal).apply(Outage(platform))
    assert done["text"] == said
    assert done["plan"]["hit"] == {"redis": [1, 1]}

    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    assert platform.acts == [("scale to 0", "redis"), ("scale back to 1", "redis")]
    assert outcome["text"].startswith("redis is set back to 1, 1 ready")
    assert FaultSession(platform, journal).revert_all() == []


def test_somebody_who_still_listens_is_no_outage(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A process that answers though it is not counted as ready."""
    platform.listens = True

    with pytest.raises(FaultError, match="connections to redis to be refused within 10 s"):
        FaultSession(platform, journal).apply(Outage(platform))


def test_outage_without_effect_is_not_proven(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """An order that had no effect does not become a proof."""
    platform.deaf = True

    with pytest.raises(FaultError, match="redis to have 0 replicas, all ready within 7 s"):
        FaultSession(platform, journal).apply(Outage(platform, Absence(timeout_s=7)))


def test_outage_needs_leave_from_target_and_experiment(platform: Platform) -> None:
    """All of it is hit: the target must call it expendable, and the radius allow its share."""
    radius = {"redis": Radius(1, 1.0)}
    with pytest.raises(RefusedError, match="over the blast radius of 50%"):
        Outage(platform, Absence(), Limits(share_max=0.5, radius=radius)).plan()

    allowed = Limits(share_max=0.5, radius=radius, expendable=["redis"])
    assert Outage(platform, Absence(), allowed).plan().hits.startswith("1 of 1 ready replicas")


def test_component_that_is_not_there_is_said(platform: Platform) -> None:
    """A platform without a model store has no outage of one."""
    with pytest.raises(FaultError, match="expected one workload of model-store, found no"):
        Outage(platform, Absence("model-store")).plan()


def test_what_is_gone_already_cannot_be_taken_away(platform: Platform) -> None:
    """That nothing of it is ready would be no effect of ours."""
    platform.others = []

    with pytest.raises(FaultError, match="nothing of redis is ready: there is nothing to take"):
        Outage(platform).plan()
