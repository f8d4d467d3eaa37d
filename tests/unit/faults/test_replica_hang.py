"""Hanging replicas: the fault that stays until it is undone, by whoever reads the journal."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError
from faultload.faults.limits import Limits
from faultload.faults.replica_hang import HangReplica
from faultload.faults.session import FaultSession
from faultload.faults.victims import Choice
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep


def test_hang_is_undone_from_the_journal_alone(journal: InjectionJournal, clock: Clock) -> None:
    """Another process with nothing but the journal undoes the fault; doing so twice is harmless."""
    platform = Platform(replica("a"), replica("b"))
    FaultSession(platform, journal).apply(HangReplica(platform))
    hung = platform.acts[0][1]

    FaultSession(platform, InjectionJournal(journal.path)).revert_all()
    again = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    assert platform.acts == [("stop", hung), ("continue", hung)]
    assert platform.engines[hung].ready
    assert again == []
    assert journal.unreverted() == []


def test_one_failed_revert_does_not_stop_the_rest(journal: InjectionJournal, clock: Clock) -> None:
    """Every unreverted fault is tried, newest first; the error lists those still in force."""
    platform = Platform(replica("a"), replica("b"), replica("c"))
    session = FaultSession(platform, journal)
    session.apply(HangReplica(platform, Choice(), Limits(seed=1)))
    journal.append(InjectionEntry("odd-1", InjectionStep.PLANNED, "no_such_fault", 0.0, plan={}))
    journal.append(InjectionEntry("odd-1", InjectionStep.INJECTING, "no_such_fault", 0.0))

    with pytest.raises(FaultError, match="odd-1: this version knows no fault 'no_such_fault'"):
        session.revert_all()

    assert all(engine.ready for engine in platform.engines.values())
    assert [entry.injection_id for entry in journal.unreverted()] == ["odd-1"]


def test_all_is_taken_back_before_any_is_proven_gone(
    journal: InjectionJournal, clock: Clock
) -> None:
    """One fault's proof may wait for what another keeps away: both are taken back first."""
    platform = Platform(replica("a"), replica("b"), replica("c"))
    session = FaultSession(platform, journal)
    session.apply(HangReplica(platform))
    session.apply(HangReplica(platform))

    session.revert_all()

    steps = [entry.step for entry in journal.entries()[-6:]]
    assert steps == [
        *(InjectionStep.REVERTING, InjectionStep.REVERTED) * 2,
        *(InjectionStep.VERIFIED_REVERTED,) * 2,
    ]
