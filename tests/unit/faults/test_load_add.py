"""Adding load: sent through the front door, proven by the sender's count, ended from outside."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from clock import Clock
from memory import Platform, replica
from pydantic import ValidationError
from senders import Senders

from faultload.errors import FaultError
from faultload.faults import traffic
from faultload.faults.limits import Limits
from faultload.faults.load_add import AddLoad, Traffic
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal
from faultload.spec.scenario import ClosedArrivals, PoissonArrivals
from faultload.targets.base import Endpoints

BURST = Traffic(model="m", requests_per_s=20.0)


@pytest.fixture
def platform() -> Platform:
    """Return a platform that wants a key at its front door."""
    made = Platform(replica("a"))
    made.endpoints = Endpoints("http://door:1", "http://x:1", Path("/ca.pem"), "THE_KEY")
    return made


def test_load_is_ended_from_the_journal_alone(
    platform: Platform, journal: InjectionJournal, senders: Senders, clock: Clock
) -> None:
    """Another process needs the plan only; what was sent is evidence, and nothing is left."""
    FaultSession(platform, journal).apply(AddLoad(platform, BURST, Limits(seed=3)))
    (folder,) = senders.folders

    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    assert "100 requests sent, 90 answered, 3 refused" in outcome["text"]
    assert outcome["data"]["refused_requests"] == 3
    assert not folder.exists()
    assert FaultSession(platform, journal).revert_all() == []
    fault, plan = AddLoad(platform), AddLoad(platform, BURST).plan()
    fault.revert(plan)  # of a sender that never was
    assert "no word" in fault.verify_reverted(plan).text


def test_orders_say_all_that_a_sender_needs_and_no_secret(
    platform: Platform, journal: InjectionJournal, senders: Senders, clock: Clock
) -> None:
    """The front door, the key's name, lengths, an end; its seed is not the workload's."""
    FaultSession(platform, journal).apply(AddLoad(platform, BURST, Limits(seed=3)))

    (orders,) = senders.orders
    assert (orders.url, orders.api_key_env, orders.ca) == (
        "http://door:1",
        "THE_KEY",
        Path("/ca.pem"),
    )
    assert orders.seed != 3
    assert orders.expires_unix_s == pytest.approx(time.time() + BURST.lasts_s, abs=30)
    assert isinstance(orders.scenario.arrivals, PoissonArrivals)
    (mix,) = orders.scenario.tiers
    assert (mix.prompt_tokens.median, mix.prompt_tokens.sigma, mix.model) == (100, 0, "m")
    users = Traffic(model="m", users=7).arrivals
    assert isinstance(users, ClosedArrivals)
    assert users.steps[0].users == 7


@pytest.mark.parametrize(
    "says",
    [
        {"due": 20, "sent": 17, "begun": 5, "refused": 0},
        {"due": 20, "sent": 20, "begun": 0, "refused": 0},
        {"due": 0, "sent": 0, "begun": 5, "refused": 0},
        {"due": 20, "sent": 20, "begun": 5, "refused": 0, "unix_s": 1.0},
    ],
    ids=["too little sent", "nobody answers", "nothing due", "said long ago"],
)
def test_load_that_is_not_seen_is_no_proof(
    platform: Platform,
    journal: InjectionJournal,
    senders: Senders,
    clock: Clock,
    says: dict[str, float],
) -> None:
    """A sender that runs proves nothing: what counts is what was sent and came back."""
    senders.says = says

    with pytest.raises(FaultError, match="expected 20 requests a second more for m to be sent"):
        FaultSession(platform, journal).apply(AddLoad(platform, BURST))


def test_refusals_are_load_too(
    platform: Platform, journal: InjectionJournal, senders: Senders, clock: Clock
) -> None:
    """A platform that turns everybody away has to do with it all the same."""
    senders.says = {"due": 20, "sent": 18, "begun": 0, "refused": 9}

    done = FaultSession(platform, journal).apply(AddLoad(platform, BURST))

    assert "18 of 20 due sent" in done["text"]


def test_sender_that_goes_on_is_not_called_ended(
    platform: Platform, journal: InjectionJournal, senders: Senders, clock: Clock
) -> None:
    """The fault is in force until its process is gone."""
    session = FaultSession(platform, journal)
    session.apply(AddLoad(platform, BURST))
    senders.deaf = True

    with pytest.raises(FaultError, match="still in force: .* to end within .*last seen: sending"):
        session.revert_all()

    senders.deaf = False
    assert session.revert_all()


def test_sender_without_a_word_says_nothing_of_refusals(
    platform: Platform, journal: InjectionJournal, senders: Senders, clock: Clock
) -> None:
    """One that was killed had no time to count: unknown is not zero."""
    senders.result = None
    session = FaultSession(platform, journal)
    session.apply(AddLoad(platform, BURST))

    assert session.revert_all()[0]["data"]["refused_requests"] is None


def test_either_a_rate_or_users() -> None:
    """Both, or neither, is a mistake in the file."""
    with pytest.raises(ValidationError, match="either requests_per_s or users"):
        Traffic(model="m")
    with pytest.raises(ValidationError, match="either requests_per_s or users"):
        Traffic(model="m", users=1, requests_per_s=1.0)


def test_nobody_is_hit(platform: Platform) -> None:
    """A reader is told how much comes instead of whom it hits."""
    plan = AddLoad(platform, Traffic(model="m", users=50)).plan()

    assert (plan.hit, plan.victims, plan.hits) == ({}, [], "no replica: 50 users more for m")
    assert not any(Path(folder).exists() for folder in plan.undo["senders"])


def test_process_number_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A lock file names a process that may be another by now: ours, in this test."""
    (tmp_path / "lock").write_text(f'{{"pid": {os.getpid()}}}', encoding="utf-8")

    traffic._kill(tmp_path)
