"""Killing engines: proven as any loss, by a uid that serves no more."""

from __future__ import annotations

import pytest
from memory import Platform, replica

from faultload.errors import FaultError
from faultload.faults.engine_kill import KillEngine
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


def test_kill_is_over_when_another_process_serves(journal: InjectionJournal) -> None:
    """The name is ready under another uid."""
    platform = Platform(replica("a"))
    session = FaultSession(platform, journal)
    session.apply(KillEngine(platform))

    assert session.revert_all()[0]["data"]["states"][0]["uid"] == "u-a'"
    assert platform.acts == [("kill core", "a")]


def test_server_that_does_not_notice_is_no_proof(
    journal: InjectionJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A victim that stays ready under its uid was not killed."""
    monkeypatch.setattr(KillEngine, "effect_timeout_s", 0.1)
    platform = Platform(replica("a"), deaf=True)

    with pytest.raises(FaultError, match="to be not ready"):
        FaultSession(platform, journal).apply(KillEngine(platform))
