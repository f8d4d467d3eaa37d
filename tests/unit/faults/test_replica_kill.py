"""Killing replicas: proven by a uid that is gone, over when another one serves."""

from __future__ import annotations

import pytest
from memory import Platform, replica

from faultload.errors import FaultError
from faultload.faults.proofs import prove_restored, prove_unready
from faultload.faults.replica_kill import KillReplica
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


def steps(journal: InjectionJournal) -> list[str]:
    """Return the journal's steps in order."""
    return [entry.step.value for entry in journal.entries()]


def test_apply_journals_each_step_before_and_after(journal: InjectionJournal) -> None:
    """The plan is on disk before the act, and proof of effect after it."""
    platform = Platform(replica("a"), replica("b"), heals=False)

    FaultSession(platform, journal).apply(KillReplica(platform))

    assert steps(journal) == ["planned", "injecting", "injected", "verified"]
    assert journal.entries()[0].plan["victims"][0]["uid"].startswith("u-")


def test_fault_without_effect_is_not_proven(
    journal: InjectionJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform that ignores the act makes `verify` fail, and the failure is journalled."""
    monkeypatch.setattr(KillReplica, "effect_timeout_s", 0.1)
    platform = Platform(replica("a"), replica("b"), deaf=True)

    with pytest.raises(FaultError, match="expected .* to be not ready within 0.1 s; last seen"):
        FaultSession(platform, journal).apply(KillReplica(platform))

    assert steps(journal)[-1] == "failed"
    assert journal.unreverted(), "it may have had an effect all the same"


def test_missing_capability_does_nothing(journal: InjectionJournal) -> None:
    """A target that cannot do it is not asked to."""
    platform = Platform(replica("a"))
    platform.capabilities = frozenset()

    with pytest.raises(FaultError, match="lacks kill-replica"):
        FaultSession(platform, journal).apply(KillReplica(platform))

    assert platform.acts == []
    assert journal.entries() == []


def test_replacement_is_proof_enough(journal: InjectionJournal) -> None:
    """A victim's name ready under another uid is back at once."""
    platform = Platform(replica("a"), heals=True)
    session = FaultSession(platform, journal)
    session.apply(KillReplica(platform))

    assert session.revert_all()[0]["data"]["states"][0]["uid"] == "u-a'"
    assert journal.unreverted() == []


def test_victim_under_its_old_uid_must_stay_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be dead already and its platform not know yet: that state must last."""
    platform = Platform(replica("a"))
    plan = KillReplica(platform).plan()
    with pytest.raises(FaultError, match="to be ready again within"):
        prove_restored(platform, plan, 0.1)

    monkeypatch.setattr("faultload.faults.proofs._NOTICE_S", 0.1)
    assert "ready again after" in prove_restored(platform, plan, 5.0).text


def test_platform_that_does_not_heal_is_for_the_judge(
    journal: InjectionJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill itself is over: a missing replacement is said, and does not make the run invalid."""
    monkeypatch.setattr(KillReplica, "return_timeout_s", 0.1)
    platform = Platform(replica("a"), replica("b"), heals=False)
    session = FaultSession(platform, journal)
    session.apply(KillReplica(platform))

    (outcome,) = session.revert_all()

    assert "did not heal" in outcome["text"]
    assert journal.unreverted() == []


def test_vanished_victim_is_unready_and_not_back() -> None:
    """A victim no longer listed counts as hit, and never as recovered."""
    platform = Platform(replica("a"), replica("b"))
    plan = KillReplica(platform).plan()
    del platform.engines[plan.victims[0]["name"]]

    assert "not ready" in prove_unready(platform, plan, 0.05).text
    with pytest.raises(FaultError):
        prove_restored(platform, plan, 0.05)
