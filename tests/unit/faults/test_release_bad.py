"""Bad releases: proven by why new replicas wait, or by how slow they are; rolled back if ours."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits, Radius
from faultload.faults.release_bad import BadRelease, FlawedRelease
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal
from faultload.targets import Flaw


@pytest.fixture
def platform() -> Platform:
    """Return two fast replicas and two slow ones."""
    return Platform(
        replica("a"), replica("b"), replica("c", tier="slow"), replica("d", tier="slow")
    )


@pytest.mark.parametrize(
    ("flaw", "waits"), [("unpullable", "ImagePullBackOff"), ("crashing", "CrashLoopBackOff")]
)
def test_one_that_does_not_start_waits_and_is_rolled_back(
    platform: Platform, journal: InjectionJournal, clock: Clock, flaw: Flaw, waits: str
) -> None:
    """Old replicas stay; evidence says why the new ones wait and how long the way back was."""
    session = FaultSession(platform, journal)

    done = session.apply(BadRelease(platform, FlawedRelease(flaw, tier="fast")))
    (back,) = session.revert_all()
    session.revert_all()

    assert f"({waits})" in done["text"]
    assert done["text"].endswith("2 ready in all")
    assert platform.acts == [(f"release {flaw}", "fast"), ("roll back to v1", "fast")]
    assert back["data"]["rollback_s"] >= 0
    assert "fast is back at v1, every replica ready" in back["text"]


def test_one_that_the_platform_calls_stalled_is_in_force(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A platform may say that it gave up, and not why."""
    platform.gives_up = True

    done = FaultSession(platform, journal).apply(BadRelease(platform, FlawedRelease(tier="fast")))

    assert "which is called stalled" in done["text"]


def test_one_that_waits_for_something_else_is_not_proven(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A release that would have started in a moment is no bad one."""
    session = FaultSession(platform, journal)
    fault = BadRelease(platform, FlawedRelease("crashing", tier="fast", timeout_s=9))
    clock.at(0.0, lambda: setattr(platform.revisions["fast"], "flaw", ""))
    platform.release = (  # type: ignore[method-assign]
        lambda workload, uid, flaw, mark: platform.begin(workload, mark.token, stays=True)
    )

    with pytest.raises(FaultError, match="crashing release of fast to be stuck within 9 s"):
        session.apply(fault)


def test_a_slow_one_is_complete_and_slow_and_then_quick_again(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """It calls itself ready; what tells it is the time for a token, before and after."""
    session = FaultSession(platform, journal)

    done = session.apply(BadRelease(platform, FlawedRelease("slow", tier="fast")))
    (back,) = session.revert_all()

    assert done["plan"]["hit"] == {"engine": [2, 4]}
    assert "the quickest takes 0.04 s for a token, the slowest took 0.01 s before" in done["text"]
    assert back["data"]["revision"] == "v1"


def test_a_slow_one_that_is_as_quick_is_not_proven(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Complete is not enough."""
    platform.release = (  # type: ignore[method-assign]
        lambda workload, uid, flaw, mark: platform.begin(workload, mark.token)
    )

    with pytest.raises(FaultError, match=r"every replica of fast to take at least 0.015 s for a"):
        FaultSession(platform, journal).apply(
            BadRelease(platform, FlawedRelease("slow", tier="fast", timeout_s=9))
        )


def test_a_slow_one_needs_somebody_to_compare_with(platform: Platform) -> None:
    """An engine that does not answer before cannot show that it answers later afterwards."""
    platform.token_time_s = lambda name, uid: None  # type: ignore[method-assign]

    with pytest.raises(FaultError, match="every replica to say how long a token takes"):
        BadRelease(platform, FlawedRelease("slow", tier="fast")).plan()


def test_somebody_s_later_release_is_left_alone(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Ours is gone with it; rolling back would undo the mending."""
    session = FaultSession(platform, journal)
    session.apply(BadRelease(platform, FlawedRelease("crashing", tier="fast")))
    platform.begin("fast", "somebody")

    (over,) = session.revert_all()

    assert ("roll back to v1", "fast") not in platform.acts
    assert "ready replicas are of v3; that is not our release, which is gone" in over["text"]


def test_a_rollback_that_does_not_end_is_an_error_and_can_be_tried_again(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """Nobody calls a platform whole that is still on its way."""
    session = FaultSession(platform, journal)
    session.apply(BadRelease(platform, FlawedRelease("slow", tier="fast")))
    platform.lingers = True

    with pytest.raises(FaultError, match="expected fast to be back at v1, with every replica read"):
        session.revert_all()
    platform.finish("fast")
    (over,) = session.revert_all()

    assert "fast is back at v1" in over["text"]


def test_all_that_a_slow_one_replaces_counts(platform: Platform) -> None:
    """Nothing is missing meanwhile, and everybody of the tier is served slowly."""
    limits = Limits(radius={"engine": Radius(1)})

    stuck = BadRelease(platform, FlawedRelease("crashing", tier="fast"), limits).plan()

    assert stuck.hit == {"engine": [0, 4]}
    with pytest.raises(RefusedError, match="hitting 2 of 4 ready engine replicas is over"):
        BadRelease(platform, FlawedRelease("slow", tier="fast"), limits).plan()
