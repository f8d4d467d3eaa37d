"""Every fault's acts are announced: a platform that owns the deadline must know it first."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory import Platform, replica

from faultload.errors import MissingError
from faultload.faults import FaultSession
from faultload.faults.replica_hang import HangReplica
from faultload.record import InjectionJournal
from faultload.targets import Mark


def test_acts_are_announced_with_the_mark_of_their_plan(tmp_path: Path) -> None:
    """Token and expiry are those in the journal, from which the fault is undone."""
    platform = Platform(replica("fast-0"), replica("fast-1"))
    session = FaultSession(platform, InjectionJournal(tmp_path / "injections.jsonl"), ttl_s=60.0)

    done = session.apply(HangReplica(platform))

    assert platform.announced is not None
    assert platform.announced.token == done["injection_id"]
    assert platform.announced.expires_unix_s == done["plan"]["expires_unix_s"]


def test_what_cannot_be_announced_is_not_begun(tmp_path: Path) -> None:
    """Nothing is harmed, and nothing is left in the journal to be undone."""

    class Deaf(Platform):
        def announce(self, mark: Mark) -> None:
            raise MissingError(f"nobody heard of {mark.token}")

    platform = Deaf(replica("fast-0"), replica("fast-1"))
    session = FaultSession(platform, InjectionJournal(tmp_path / "injections.jsonl"))

    with pytest.raises(MissingError, match="nobody heard of hang_replica-"):
        session.apply(HangReplica(platform))

    assert platform.acts == []
    assert session.journal.entries() == []
