"""Scaling: the platform chooses who goes; the number is set back if it is still ours."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.component_scale import ScaleTo, Size
from faultload.faults.limits import Limits, Radius
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


@pytest.fixture
def platform() -> Platform:
    """Return three fast replicas and one slow one."""
    return Platform(replica("a"), replica("b"), replica("c"), replica("s", tier="slow"))


@pytest.mark.parametrize(
    ("to", "whom"),
    [
        (1, "2 of 3 ready replicas of tier fast, chosen by the platform"),
        (5, "nobody: fast grows from 3 to 5"),
    ],
)
def test_number_is_set_and_set_back(
    platform: Platform, journal: InjectionJournal, clock: Clock, to: int, whom: str
) -> None:
    """No victim is named, because nobody knows them; undoing twice does nothing more."""
    session = FaultSession(platform, journal)

    done = session.apply(ScaleTo(platform, Size(to, tier="fast")))
    assert done["plan"]["victims"] == []
    assert done["plan"]["whom"] == whom
    assert f"fast has {to} ready" in done["text"]
    (outcome,) = session.revert_all()
    session.revert_all()

    assert platform.acts == [(f"scale to {to}", "fast"), ("scale back to 3", "fast")]
    assert "fast is set back to 3, 3 ready" in outcome["text"]


def test_scale_without_effect_is_not_proven(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The number that counts is that of ready replicas, within the given time."""
    platform.deaf = True

    with pytest.raises(FaultError, match="fast to have 1 replicas, all ready within 7 s; last se"):
        FaultSession(platform, journal).apply(ScaleTo(platform, Size(1, tier="fast", timeout_s=7)))


def test_growth_without_room_is_not_proven_and_reverted(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A platform that wants more and has no machine for it: said with what was seen, and undone."""
    platform.heals = False
    session = FaultSession(platform, journal)

    with pytest.raises(FaultError, match="'wanted': 5, 'ready': 3"):
        session.apply(ScaleTo(platform, Size(5, tier="fast")))
    session.revert_all()

    assert platform.tiers["fast"].wanted == 3


def test_autoscaler_forbids_it(platform: Platform) -> None:
    """It would undo the change at once, and the run would be about that race."""
    platform.tiers["fast"] = replace(platform.tiers["fast"], scaled_by="ScaledObject/fast")

    with pytest.raises(FaultError, match="fast is scaled by ScaledObject/fast, which would undo"):
        ScaleTo(platform, Size(1, tier="fast")).plan()


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (Size(1), r"found fast \(tier 'fast'\), slow \(tier 'slow'\); name one with 'tier'"),
        (Size(1, tier="no-such"), "expected one workload of engine of tier 'no-such'"),
        (Size(1, component="no-such"), "found none"),
        (Size(3, tier="fast"), "is to have 3 already"),
    ],
)
def test_what_cannot_be_scaled_is_said(platform: Platform, size: Size, said: str) -> None:
    """One workload, and a change of its number: else there is nothing to do."""
    with pytest.raises(FaultError, match=said):
        ScaleTo(platform, size).plan()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(radius={"engine": Radius(1)}), "hitting 2 of 4"),
        (Limits(share_max=0.4), "over the blast radius of 40%"),
        (Limits(healthy_min={"engine": 3}), "healthy_min wants 3"),
    ],
)
def test_each_limit_refuses(platform: Platform, limits: Limits, said: str) -> None:
    """Those who would go count as hit, though nobody knows them; growing hits nobody."""
    with pytest.raises(RefusedError, match=said):
        ScaleTo(platform, Size(1, tier="fast"), limits).plan()

    assert ScaleTo(platform, Size(9, tier="fast"), limits).plan().victims == []


def test_whoever_is_ready_may_be_chosen(platform: Platform) -> None:
    """A stateful set takes its last ones, ready or not: those that may go count as hit."""
    for name in "ab":
        platform.engines[name] = replica(name, ready=False)

    planned = ScaleTo(platform, Size(1, tier="fast")).plan()

    assert planned.whom == "1 of 1 ready replicas of tier fast, chosen by the platform"
    with pytest.raises(RefusedError, match="healthy_min wants 2"):
        ScaleTo(platform, Size(1, tier="fast"), Limits(healthy_min={"engine": 2})).plan()


def test_number_that_is_another_s_by_now_is_still_in_force(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Without our mark the number is left alone, and nobody is told that the fault is gone."""
    session = FaultSession(platform, journal)
    session.apply(ScaleTo(platform, Size(1, tier="fast")))
    platform.marks.clear()

    with pytest.raises(FaultError, match="fast to be set back to 3 replicas within 60 s"):
        session.revert_all()

    assert platform.tiers["fast"].wanted == 1


def test_workload_that_is_gone_took_the_change_along(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """One of the same name that replaced it is another, and is left alone."""
    session = FaultSession(platform, journal)
    session.apply(ScaleTo(platform, Size(1, tier="fast")))
    platform.tiers["fast"] = replace(platform.tiers["fast"], uid="w-other")

    (outcome,) = session.revert_all()

    assert outcome["text"] == "fast is gone, and the change with it"
    assert platform.acts == [("scale to 1", "fast")]


def test_workload_of_another_tier_by_now_is_the_same_still(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Who relabels it does not undo the change: it is set back, and not taken for gone."""
    session = FaultSession(platform, journal)
    session.apply(ScaleTo(platform, Size(1, tier="fast")))
    platform.tiers["fast"] = replace(platform.tiers["fast"], tier="faster")

    (outcome,) = session.revert_all()

    assert platform.tiers["fast"].wanted == 3
    assert "fast is set back to 3" in outcome["text"]


def test_platform_that_does_not_heal_is_for_the_judge(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The number is back, which was ours to do; replicas that do not come are said."""
    session = FaultSession(platform, journal)
    session.apply(ScaleTo(platform, Size(1, tier="fast")))
    platform.heals = False

    (outcome,) = session.revert_all()

    assert "set back to 3, and the platform did not heal" in outcome["text"]
    assert journal.unreverted() == []


def test_somebody_elses_number_is_left_alone_and_said(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Whoever scaled meanwhile meant it: nothing is set back, and nothing of ours is left."""
    session = FaultSession(platform, journal)
    session.apply(ScaleTo(platform, Size(1, tier="fast")))
    platform.tiers["fast"] = replace(platform.tiers["fast"], wanted=7)
    platform.marks.clear()

    (outcome,) = session.revert_all()

    assert outcome["text"] == "fast is to have 7 by now, which is somebody else's number"
    assert platform.tiers["fast"].wanted == 7
