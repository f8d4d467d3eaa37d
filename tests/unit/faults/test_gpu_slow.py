"""Slowing GPUs down: proven against replicas of the same tier, at the same time."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError
from faultload.faults.gpu_slow import SlowGpu
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


def test_slowness_is_undone_from_the_journal_alone(journal: InjectionJournal, clock: Clock) -> None:
    """The ratio is evidence, and gone afterwards; undoing twice is harmless."""
    platform = Platform(replica("a"), replica("b"))
    done = FaultSession(platform, journal).apply(SlowGpu(platform))
    victim = platform.acts[0][1]
    assert done["data"]["times"][0]["ratio"] == pytest.approx(3.0)

    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    assert platform.acts == [("slow 3", victim), ("quicken", victim)]
    assert outcome["data"]["times"][0]["ratio"] == pytest.approx(1.0)
    assert FaultSession(platform, journal).revert_all() == []


def test_engine_as_quick_as_others_is_no_proof(journal: InjectionJournal, clock: Clock) -> None:
    """An order that had no effect does not become a proof."""
    platform = Platform(replica("a"), replica("b"), deaf=True)

    with pytest.raises(FaultError, match="to take at least 2 times as long .*'ratio': 1.0"):
        FaultSession(platform, journal).apply(SlowGpu(platform))


def test_no_peer_or_no_data_is_no_proof(
    journal: InjectionJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow is a comparison: without anything to compare with nothing is proven."""
    with pytest.raises(FaultError, match=r"'peers_s': \[\], 'ratio': None"):
        FaultSession(alone := Platform(replica("a")), journal).apply(SlowGpu(alone))

    platform = Platform(replica("a"), replica("b"))
    monkeypatch.setattr(platform, "token_time_s", lambda *_: None)
    with pytest.raises(FaultError, match="'ratio': None"):
        FaultSession(platform, journal).apply(SlowGpu(platform))


def test_victim_that_was_replaced_is_slow_no_more(journal: InjectionJournal, clock: Clock) -> None:
    """Its process is gone, and the slowness with it."""
    platform = Platform(replica("a"), replica("b"))
    session = FaultSession(platform, journal)
    session.apply(SlowGpu(platform))
    name = platform.acts[0][1]
    platform.kill_replica(name, f"u-{name}")

    assert "replaced" in session.revert_all()[0]["text"]


def test_end_is_proven_without_peers_by_the_time_before(
    journal: InjectionJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tier that lost its other replicas meanwhile does not keep a fault in force for ever."""
    platform = Platform(replica("a"), replica("b"))
    session = FaultSession(platform, journal)
    session.apply(SlowGpu(platform))
    victim = [one for one in platform.replicas("engine") if one.name == platform.acts[0][1]]
    monkeypatch.setattr(platform, "replicas", lambda _: victim)

    assert "as quick as before again" in session.revert_all()[0]["text"]
