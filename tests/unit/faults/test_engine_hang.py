"""Hanging engines: readiness proves nothing, a token that is asked for does."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError
from faultload.faults.engine_hang import HangEngine
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal
from faultload.targets import Pulse


def test_hang_is_proven_by_missing_tokens_and_undone_from_the_journal(
    journal: InjectionJournal, clock: Clock
) -> None:
    """The victim stays ready throughout; another process undoes it, and twice is harmless."""
    platform = Platform(replica("a"), replica("b"))
    done = FaultSession(platform, journal).apply(HangEngine(platform))
    (hung,) = platform.hung
    assert done["data"]["pulses"][0]["healthy"]
    assert all(engine.ready for engine in platform.engines.values())

    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()
    again = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    name = hung.removeprefix("u-")
    assert platform.acts == [("stop core", name), ("continue core", name)]
    assert "generating again" in outcome["text"]
    assert again == []


def test_engine_that_goes_on_is_not_hung(journal: InjectionJournal, clock: Clock) -> None:
    """A signal that had no effect does not become a proof."""
    platform = Platform(replica("a"), replica("b"), deaf=True)

    with pytest.raises(FaultError, match="to be healthy and to generate no token .*'tokens': 1"):
        FaultSession(platform, journal).apply(HangEngine(platform))


def test_engine_that_does_not_go_on_is_not_reverted(
    journal: InjectionJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness, which it never lost, is no proof that tokens come again."""
    platform = Platform(replica("a"), replica("b"))
    session = FaultSession(platform, journal)
    session.apply(HangEngine(platform))
    monkeypatch.setattr(platform, "continue_engine", lambda *_: None)

    with pytest.raises(FaultError, match="to generate a token that is asked for"):
        session.revert_all()
    assert journal.unreverted()


def test_victim_that_was_replaced_is_asked_under_its_new_uid(
    journal: InjectionJournal, clock: Clock
) -> None:
    """What hung is gone with its process: its successor must generate."""
    platform = Platform(replica("a"))
    session = FaultSession(platform, journal)
    session.apply(HangEngine(platform))
    platform.kill_replica("a", "u-a")

    (outcome,) = session.revert_all()

    assert outcome["data"]["pulses"][0]["beats"]
    assert ("continue core", "a") not in platform.acts


@pytest.mark.parametrize(
    ("pulse", "hangs", "beats"),
    [
        (Pulse(healthy=True, answered=False, tokens=0), True, False),
        (Pulse(healthy=True, answered=True, tokens=1), False, True),
        (Pulse(healthy=True, answered=False, tokens=40), False, False),  # a long queue
        (Pulse(healthy=True, answered=False, tokens=None), False, False),  # nobody can tell
        (Pulse(healthy=False, answered=False, tokens=0), False, False),  # dead
    ],
)
def test_what_counts_as_hung(pulse: Pulse, hangs: bool, beats: bool) -> None:
    """Healthy, asked, and not a token for anybody; no data is never that."""
    assert (pulse.hangs, pulse.beats) == (hangs, beats)
