"""Resetting connections: seen on connections made the way that callers go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError
from faultload.faults.network_resets import ResetConnections, Resets
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal
from faultload.targets import Disturbance


@pytest.fixture
def platform() -> Platform:
    """Return two replicas, the second of which is busier."""
    return Platform(replica("a"), replica("b", inflight=2))


@pytest.mark.parametrize(("share", "said"), [(0.5, "5 of 10"), (0.02, "1 of 40")])
def test_resets_are_seen_and_undone_from_the_journal_alone(
    platform: Platform, journal: InjectionJournal, clock: Clock, share: float, said: str
) -> None:
    """One that was reset is enough, however many it takes; undoing twice is harmless."""
    fault = ResetConnections(platform, Resets(share=share))
    done = FaultSession(platform, journal).apply(fault)
    assert done["text"] == f"{said} connections to b were reset"

    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    assert platform.acts == [("disturb", "b"), ("mend", "b")]
    assert outcome["text"] == "connections to b hold again"
    assert FaultSession(platform, journal).revert_all() == []


def test_connections_that_hold_are_no_proof(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A network that lists it and resets none."""
    platform.deaf_network = True

    with pytest.raises(FaultError, match="connections to b to be reset within 30 s"):
        FaultSession(platform, journal).apply(ResetConnections(platform))


@pytest.mark.parametrize(
    ("resets", "said"),
    [(None, "b: there is no network before it here"), ((3, 10), "3 of 10 connections to it are")],
)
def test_what_could_not_be_told_is_not_begun(
    platform: Platform, resets: tuple[int, int] | None, said: str
) -> None:
    """Where connections cannot be looked at, or are reset already, ours would not be known."""
    platform.resets = lambda *_: resets  # type: ignore[method-assign]

    with pytest.raises(FaultError, match=said):
        ResetConnections(platform).plan()

    assert platform.acts == []


def test_what_others_did_stays(platform: Platform, journal: InjectionJournal, clock: Clock) -> None:
    """What is no longer as we set it is no longer ours."""
    session = FaultSession(platform, journal)
    session.apply(ResetConnections(platform))
    platform.ways["b"] = Disturbance(latency_s=0.1)

    session.revert_all()

    assert platform.ways == {"b": Disturbance(latency_s=0.1)}


def test_resets_of_a_victim_that_died_are_not_asked_for(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A dead replica resets too, which says nothing about the network before it."""
    fault = ResetConnections(platform)
    plan = fault.plan()
    fault.inject(plan)
    platform.engines["b"] = replace(platform.engines["b"], uid="u-b'")

    with pytest.raises(FaultError, match=r"last seen: {'b': \[0, 0\]}"):
        fault.verify(plan)
    fault.revert(plan)
    assert fault.verify_reverted(plan).text == "b: replaced"
