"""Partitioning replicas: listed as cut off and silent; joined again by the journal alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits, Radius
from faultload.faults.replica_partition import PartitionReplica
from faultload.faults.session import FaultSession
from faultload.faults.victims import Choice
from faultload.record import InjectionJournal


@pytest.fixture
def platform() -> Platform:
    """Return two replicas, the second serving two requests."""
    return Platform(replica("a"), replica("b", inflight=2))


def test_victim_is_cut_off_falls_silent_and_is_joined(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """It is proven once the last request it had is over; undoing twice does nothing more."""

    def finish() -> None:
        platform.engines["b"] = replace(platform.engines["b"], inflight=0)

    clock.at(4.0, finish)
    session = FaultSession(platform, journal)

    done = session.apply(PartitionReplica(platform))
    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()
    session.revert_all()

    assert clock.now_s >= 4.0
    assert "b cut off after 4" in done["text"]
    assert done["text"].endswith("serving nothing any more")
    assert "b joined again" in outcome["text"]
    assert platform.acts == [("partition", "b"), ("join", "b")]
    assert journal.unreverted() == []


def test_network_that_does_not_enforce_it_is_not_proven(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A victim that is listed as cut off and goes on serving is not cut off."""
    with pytest.raises(FaultError, match="to serve nothing any more within 30 s.*'cut_off': True"):
        FaultSession(platform, journal).apply(PartitionReplica(platform))


def test_silence_alone_is_not_proof(journal: InjectionJournal, clock: Clock) -> None:
    """An idle victim that nobody lists as cut off was not cut off."""
    platform = Platform(replica("a"), deaf=True)

    with pytest.raises(FaultError, match="'cut_off': False"):
        FaultSession(platform, journal).apply(PartitionReplica(platform))


def test_what_cannot_be_told_is_said(journal: InjectionJournal, clock: Clock) -> None:
    """Where nobody knows what a replica serves, the evidence says who does."""
    platform = Platform(replica("a", inflight=None))

    done = FaultSession(platform, journal).apply(PartitionReplica(platform))

    assert "what a serves is not known here: the request rows show it" in done["text"]


def test_victim_replaced_meanwhile_is_not_proof(journal: InjectionJournal, clock: Clock) -> None:
    """A replacement is not the one that was cut off."""
    platform = Platform(replica("a"))
    fault = PartitionReplica(platform)
    plan = fault.plan()
    fault.inject(plan)
    platform.cut.clear()
    platform.engines["a"] = replace(platform.engines["a"], uid="u-a'")

    with pytest.raises(FaultError):
        fault.verify(plan)


@pytest.mark.parametrize("listed", [True, False])
def test_cut_that_outlives_its_undo_is_still_in_force(
    platform: Platform, journal: InjectionJournal, clock: Clock, listed: bool
) -> None:
    """Whether or not the victim is still listed as a replica."""
    platform.engines["b"] = replace(platform.engines["b"], inflight=0)
    fault = PartitionReplica(platform, Choice(select="random"), Limits(seed=1))
    session = FaultSession(platform, journal)
    done = session.apply(fault)
    name = done["plan"]["victims"][0]["name"]
    if not listed:
        del platform.engines[name]
    platform.join = lambda *_: None  # type: ignore[method-assign]

    with pytest.raises(FaultError, match=f"still in force: .*expected {name} not to be cut off"):
        session.revert_all()


def test_half_a_partition_is_reverted(journal: InjectionJournal, clock: Clock) -> None:
    """When the second victim is another by now, the first one's cut is undone all the same."""
    platform = Platform(replica("a"), replica("b"))
    fault = PartitionReplica(platform, Choice(replicas=2))
    second = fault.plan().victims[1]["name"]
    session = FaultSession(platform, journal)
    partition = platform.partition

    def replace_and_partition(*given: object) -> None:
        platform.engines[second] = replace(platform.engines[second], uid="u-other")
        partition(*given)  # type: ignore[arg-type]

    platform.partition = replace_and_partition  # type: ignore[method-assign]
    with pytest.raises(FaultError, match="another by now"):
        session.apply(fault)
    assert platform.cut
    session.revert_all()

    assert platform.cut == {}
    assert journal.unreverted() == []


@pytest.mark.parametrize(
    "limits",
    [
        Limits(radius={"engine": Radius(1)}),
        Limits(share_max=0.5),
        Limits(healthy_min={"engine": 1}),
    ],
)
def test_each_limit_refuses(platform: Platform, limits: Limits) -> None:
    """Both of two replicas are over each limit in turn."""
    with pytest.raises(RefusedError):
        PartitionReplica(platform, Choice(replicas=2), limits).plan()

    assert platform.acts == []
