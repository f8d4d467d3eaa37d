"""Exhausting a GPU's memory: the victim is gone, and its log says of what."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError
from faultload.faults.gpu_memory import ExhaustGpuMemory
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


def test_memory_is_given_back_from_the_journal_alone(
    journal: InjectionJournal, clock: Clock
) -> None:
    """The undo names replica, uid and machine: the victim's process is dead by then."""
    platform = Platform(replica("a"), replica("b"))
    FaultSession(platform, journal).apply(ExhaustGpuMemory(platform))
    victim = platform.acts[0][1]
    assert not platform.engines[victim].ready

    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    assert platform.acts == [("hold memory", victim), ("release memory", victim)]
    assert "did not heal" not in outcome["text"]
    assert journal.unreverted() == []


def test_death_of_another_cause_is_no_proof(
    journal: InjectionJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that ran out of memory yesterday and crashes today did not die of this."""
    platform = Platform(replica("a"))
    platform.log.append(("a", "torch.OutOfMemoryError: CUDA out of memory."))
    monkeypatch.setattr(platform, "hold_gpu_memory", platform.kill_replica)

    with pytest.raises(FaultError, match="to die and to say .*'out_of_memory': 0"):
        FaultSession(platform, journal).apply(ExhaustGpuMemory(platform))


def test_engine_that_lives_on_is_no_proof(journal: InjectionJournal, clock: Clock) -> None:
    """Holding memory is not yet harm."""
    platform = Platform(replica("a"), deaf=True)

    with pytest.raises(FaultError, match="to die and to say .*'ready': True"):
        FaultSession(platform, journal).apply(ExhaustGpuMemory(platform))
