"""Filling KV caches: proven by the engine's own gauge, and gone when it has fallen."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica
from senders import Senders

from faultload.errors import FaultError
from faultload.faults.kv_cache_fill import FillKvCache, Pressure
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


class Filled(Platform):
    """Its caches are as full as a test says while a sender lives.

    Attributes:
        full: how full, look after look; the last one stays.
        senders: those that fill it.
    """

    def __init__(self, senders: Senders, *full: float | None) -> None:
        super().__init__(replica("a"), replica("b"))
        self.senders, self.full = senders, list(full)

    def kv_cache_used(self, name: str, uid: str) -> float | None:
        if not any(self.senders._is_sending(folder) for folder in self.senders.folders):
            return 0.0
        return self.full.pop(0) if len(self.full) > 1 else self.full[0]


def test_pressure_is_undone_from_the_journal_alone(
    journal: InjectionJournal, senders: Senders, clock: Clock
) -> None:
    """The victim is asked directly for its own model; an empty cache is one that fell."""
    platform = Filled(senders, 0.4, 0.96)
    done = FaultSession(platform, journal).apply(FillKvCache(platform, Pressure(replicas=1)))
    (orders,) = senders.orders
    assert orders.url == platform.engine_url("a", "u-a")
    assert orders.scenario.tiers[0].model == "chat-fast"
    assert "is at 96%" in done["text"]

    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    assert "below 90% again" in outcome["text"]
    assert FaultSession(platform, journal).revert_all() == []


@pytest.mark.parametrize(
    "full", [(0.5,), (None,), (0.95, 0.5, 0.95, 0.95, 0.5)], ids=["half", "silent", "passing"]
)
def test_cache_that_is_not_full_is_no_proof(
    journal: InjectionJournal, senders: Senders, clock: Clock, full: tuple[float | None, ...]
) -> None:
    """Neither is a gauge that says nothing, or a moment that passes."""
    platform = Filled(senders, *full)

    with pytest.raises(FaultError, match="expected the KV cache of . to be at 90% or above"):
        FaultSession(platform, journal).apply(FillKvCache(platform))


def test_every_victim_has_a_sender_with_words_of_its_own(
    journal: InjectionJournal, senders: Senders, clock: Clock
) -> None:
    """Equal prompts would share their blocks."""
    platform = Filled(senders, 0.95)
    done = FaultSession(platform, journal).apply(FillKvCache(platform, Pressure(replicas=2)))

    first, second = senders.orders
    assert first.seed != second.seed
    assert done["plan"]["hit"] == {"engine": [2, 2]}


def test_victim_that_was_replaced_is_full_no_more(
    journal: InjectionJournal, senders: Senders, clock: Clock
) -> None:
    """Its cache went with it."""
    platform = Filled(senders, 0.95)
    session = FaultSession(platform, journal)
    session.apply(FillKvCache(platform))
    name = journal.entries()[0].plan["victims"][0]["name"]
    platform.kill_replica(name, f"u-{name}")

    assert session.revert_all()[0]["data"]["caches"][0]["there"] is False


def test_victim_that_says_no_model_is_not_asked(
    journal: InjectionJournal, senders: Senders, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is gone is an error and not a fault without effect."""
    platform = Filled(senders, 0.95)
    monkeypatch.setattr(platform, "served_model", lambda *_: None)

    with pytest.raises(FaultError, match="is gone, another by now, or does not say"):
        FaultSession(platform, journal).apply(FillKvCache(platform))


@pytest.mark.parametrize(("used", "said"), [(0.95, "95%"), (None, "no data")])
def test_cache_that_is_full_already_proves_nothing(
    senders: Senders, used: float | None, said: str
) -> None:
    """Nobody could tell our pressure from what was there before, nor see it fall."""
    platform = Filled(senders)
    platform.kv_cache_used = lambda name, uid: used  # type: ignore[method-assign]

    with pytest.raises(FaultError, match=f"before it is filled, found {said}"):
        FillKvCache(platform, Pressure(replicas=1)).plan()


def test_full_cache_without_a_sender_at_work_is_not_proven(
    journal: InjectionJournal, senders: Senders, clock: Clock
) -> None:
    """The workload may have filled it meanwhile: our own traffic must be there."""
    senders.says = {"due": 20, "sent": 0, "begun": 0, "refused": 0, "open": 0}
    platform = Filled(senders, 0.96)

    with pytest.raises(FaultError, match="to be at 90% or above"):
        FaultSession(platform, journal).apply(FillKvCache(platform, Pressure(replicas=1)))
