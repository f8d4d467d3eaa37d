"""Deleting replicas: proven by a uid that no longer is ready, over when a tier is whole again."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits, Radius
from faultload.faults.replica_delete import DeleteReplica, Deletion
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


@pytest.mark.parametrize("grace_s", [None, 0.0, 12.5])
def test_grace_is_passed_on_as_given(
    journal: InjectionJournal, clock: Clock, grace_s: float | None
) -> None:
    """None leaves the platform's own grace, and 0 is a grace of its own, not its absence."""
    platform = Platform(replica("a"), replica("b"))

    done = FaultSession(platform, journal).apply(
        DeleteReplica(platform, Deletion(grace_s=grace_s), Limits(seed=1))
    )

    victim = done["plan"]["victims"][0]["name"]
    assert platform.acts == [(f"delete within {grace_s}", victim)]
    assert victim not in platform.engines


def test_replacement_of_another_name_is_whole_again(
    journal: InjectionJournal, clock: Clock
) -> None:
    """A deleted replica's name does not come back: its tier having as many ready does."""
    platform = Platform(replica("a"), replica("b"))
    session = FaultSession(platform, journal)
    session.apply(DeleteReplica(platform))

    (outcome,) = session.revert_all()

    assert "replaced after" in outcome["text"]
    assert session.revert_all() == []
    assert journal.unreverted() == []


def test_deletion_that_nobody_heard_is_not_proven(journal: InjectionJournal, clock: Clock) -> None:
    """A platform that answers and does nothing makes `verify` fail."""
    platform = Platform(replica("a"), replica("b"), deaf=True)

    with pytest.raises(FaultError, match=r"to be not ready within 10 s; last seen"):
        FaultSession(platform, journal).apply(DeleteReplica(platform))

    assert journal.unreverted(), "it may have had an effect all the same"


def test_platform_that_does_not_heal_is_for_the_judge(
    journal: InjectionJournal, clock: Clock
) -> None:
    """A missing replacement is said, and does not make the run invalid."""
    platform = Platform(replica("a"), replica("b"), heals=False)
    session = FaultSession(platform, journal)
    session.apply(DeleteReplica(platform))

    (outcome,) = session.revert_all()

    assert "the deletion is over, and the platform did not heal" in outcome["text"]
    assert journal.unreverted() == []


def test_victim_that_was_replaced_is_not_hit(journal: InjectionJournal) -> None:
    """Between plan and act a victim may become another: that one is left alone."""
    platform = Platform(replica("a"))
    fault = DeleteReplica(platform)
    plan = fault.plan()
    platform.kill_replica("a", "u-a")

    with pytest.raises(FaultError, match="another by now"):
        fault.inject(plan)

    assert platform.acts == [("kill", "a")]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(share_max=0.5), "over the blast radius of 50%"),
        (Limits(radius={"engine": Radius(1)}), "over the blast radius of 1"),
        (Limits(healthy_min={"engine": 2}), "healthy_min wants 2"),
    ],
)
def test_each_limit_refuses(limits: Limits, said: str) -> None:
    """Two of three replicas are over each limit in turn; nothing is touched."""
    platform = Platform(replica("a"), replica("b"), replica("c"))

    with pytest.raises(RefusedError, match=said):
        DeleteReplica(platform, Deletion(replicas=2), limits).plan()

    assert platform.acts == []
