"""Every fault's acts have an end that is known before they begin, to whoever will see to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from memory import Platform, replica

from faultload.errors import MissingError
from faultload.faults import FaultSession
from faultload.faults.replica_hang import HangReplica
from faultload.record import InjectionJournal
from faultload.targets import Mark


def test_acts_are_under_the_mark_of_their_plan(tmp_path: Path) -> None:
    """Token and expiry are those in the journal, from which the fault is undone."""
    platform = Platform(replica("fast-0"), replica("fast-1"))
    session = FaultSession(platform, InjectionJournal(tmp_path / "injections.jsonl"), ttl_s=60.0)

    done = session.apply(HangReplica(platform))

    assert platform.mark is not None
    assert platform.mark.token == done["injection_id"]
    assert platform.mark.expires_unix_s == done["plan"]["expires_unix_s"]


def test_what_nobody_would_end_is_not_begun(tmp_path: Path) -> None:
    """Nothing is harmed, and nothing is left in the journal to be undone."""

    class Deaf(Platform):
        @contextmanager
        def under(self, mark: Mark) -> Iterator[None]:
            raise MissingError(f"nobody heard of {mark.token}")
            yield

    platform = Deaf(replica("fast-0"), replica("fast-1"))
    session = FaultSession(platform, InjectionJournal(tmp_path / "injections.jsonl"))

    with pytest.raises(MissingError, match="nobody heard of hang_replica-"):
        session.apply(HangReplica(platform))

    assert platform.acts == []
    assert session.journal.entries() == []
