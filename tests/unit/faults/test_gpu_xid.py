"""Breaking GPUs: the kernel says which Xid, and the engine is gone or hangs."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError
from faultload.faults.gpu_xid import Breakage, RaiseGpuXid, Xid
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


@pytest.mark.parametrize(("xid", "ready"), [(79, False), (48, False), (94, False), (74, True)])
def test_xid_is_proven_by_its_own_harm_and_reset_from_the_journal(
    journal: InjectionJournal, clock: Clock, xid: Xid, ready: bool
) -> None:
    """74 leaves the victim ready and hung, the others leave it gone; a reset ends either."""
    platform = Platform(replica("a"), replica("b"))
    done = FaultSession(platform, journal).apply(RaiseGpuXid(platform, Breakage(xid=xid)))
    victim = platform.acts[0][1]
    assert platform.engines[victim].ready is ready
    assert done["data"]["victims"][0]["hangs"] is ready

    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    assert platform.acts == [(f"xid {xid}", victim), ("reset", victim)]
    assert "did not heal" not in outcome["text"]
    assert journal.unreverted() == []


def test_death_without_the_kernel_s_line_is_no_proof(
    journal: InjectionJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older line of the same number, or a death of another cause, does not count."""
    platform = Platform(replica("a"))
    platform.log.append(("a", "NVRM: Xid (PCI:0000:1b:00): 79, pid=7, name=x, "))
    monkeypatch.setattr(
        platform, "raise_xid", lambda name, uid, _: platform.kill_replica(name, uid)
    )

    with pytest.raises(FaultError, match="Xid 79 to be reported .*'reported': 0, 'gone': True"):
        FaultSession(platform, journal).apply(RaiseGpuXid(platform))


def test_line_without_harm_is_no_proof(
    journal: InjectionJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver's message alone hurts nobody."""
    platform = Platform(replica("a"))
    line = "NVRM: Xid (PCI:0000:1b:00): 74, pid=7, name=x, "
    monkeypatch.setattr(platform, "raise_xid", lambda name, *_: platform.log.append((name, line)))

    with pytest.raises(FaultError, match="'reported': 1, 'gone': False, 'hangs': False"):
        FaultSession(platform, journal).apply(RaiseGpuXid(platform, Breakage(xid=74)))
