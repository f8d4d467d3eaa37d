"""Rollouts: seen complete or begun, nothing to take back, and what may be missing counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits, Radius
from faultload.faults.release_roll_out import Release, RollOut
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


@pytest.fixture
def platform() -> Platform:
    """Return two fast replicas and one slow one."""
    return Platform(replica("a"), replica("b"), replica("s", tier="slow"))


def test_every_replica_is_another_afterwards(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Complete means all of the new revision, ready; undoing orders nothing."""
    session = FaultSession(platform, journal)

    done = session.apply(RollOut(platform, Release(tier="fast")))
    (over,) = session.revert_all()

    assert done["plan"]["whom"] == (
        "all 2 replicas of fast, one after the other, at most 0 missing at a time"
    )
    assert done["text"].startswith("fast: 2 of 2 ready replicas are of v2")
    assert over["text"].startswith("fast: 2 of 2 ready replicas are of v2")
    assert platform.acts == [("roll out", "fast")]


def test_one_that_has_begun_leaves_the_method_to_go_on(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The next fault happens during it; undoing waits for its end."""
    platform.lingers = True
    session = FaultSession(platform, journal)

    done = session.apply(RollOut(platform, Release(tier="fast", until="begun")))
    clock.at(clock.now_s + 40, lambda: platform.finish("fast"))
    (over,) = session.revert_all()

    assert done["data"]["updated_ready"] == 0
    assert over["data"]["waited_s"] >= 40


@pytest.mark.parametrize("until", ["complete", "begun"])
def test_one_that_is_not_there_is_not_proven(
    platform: Platform, journal: InjectionJournal, clock: Clock, until: str
) -> None:
    """A revision as before is no rollout, however ready it is."""
    platform.deaf = True

    with pytest.raises(FaultError, match=r"the rollout of fast from v1 .* within 7 s; last seen"):
        FaultSession(platform, journal).apply(
            RollOut(platform, Release(tier="fast", until=until, timeout_s=7))
        )


def test_one_that_never_ends_is_said(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """It takes nothing from anybody, so the run is valid; the judge sees what users saw."""
    platform.lingers = True
    session = FaultSession(platform, journal)
    session.apply(RollOut(platform, Release(tier="fast", until="begun")))

    (over,) = session.revert_all()

    assert "the platform did not finish the rollout: expected" in over["text"]


def test_somebody_s_later_release_is_not_waited_for(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Ours is over when another took its place."""
    platform.lingers = True
    session = FaultSession(platform, journal)
    session.apply(RollOut(platform, Release(tier="fast", until="begun")))
    platform.begin("fast", "somebody", stays=True)

    (over,) = session.revert_all()

    assert over["data"]["revision"] == "v3"


def test_none_begins_during_another(platform: Platform) -> None:
    """Nobody could tell one from the other."""
    platform.begin("fast", "somebody", stays=True)

    with pytest.raises(FaultError, match="one revision, with every replica ready; found 0 of 2"):
        RollOut(platform, Release(tier="fast")).plan()


def test_what_may_be_missing_counts_and_the_unknown_does_not(platform: Platform) -> None:
    """The limits hold for what a rollout takes away; what nobody knows is said to be unknown."""
    limits = Limits(radius={"engine": Radius(1)})

    platform.max_unavailable = None
    unknown = RollOut(platform, Release(tier="fast"), limits).plan()
    platform.max_unavailable = 1
    one = RollOut(platform, Release(tier="fast"), limits).plan()
    platform.max_unavailable = 2

    assert (unknown.hit, one.hit) == ({"engine": [0, 3]}, {"engine": [1, 3]})
    assert "at most an unknown number missing" in unknown.whom
    with pytest.raises(RefusedError, match="over the blast radius of 1"):
        RollOut(platform, Release(tier="fast"), limits).plan()


def test_an_empty_workload_has_nothing_to_replace(platform: Platform) -> None:
    """None of none is complete at once, and proves nothing."""
    platform.tiers["fast"] = replace(platform.tiers["fast"], wanted=0)
    platform.engines = {n: one for n, one in platform.engines.items() if one.tier != "fast"}

    with pytest.raises(FaultError, match="nothing would be replaced"):
        RollOut(platform, Release(tier="fast")).plan()


def test_a_flawed_release_of_ours_is_not_carried_along(platform: Platform) -> None:
    """It would survive its own rollback, as somebody else's revision."""
    platform.revisions["fast"].tokens = {"v1": "", "v2": "bad_release-1"}

    with pytest.raises(FaultError, match="roll that back first"):
        RollOut(platform, Release(tier="fast")).plan()
