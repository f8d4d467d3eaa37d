"""Slowing the network down: proven by round trips, where these can show it at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clock import Clock
from memory import Platform, replica
from pydantic import ValidationError

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits
from faultload.faults.network_slow import Slowdown, SlowNetwork
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal


@pytest.fixture
def platform() -> Platform:
    """Return two replicas, the second of which is busier."""
    return Platform(replica("a"), replica("b", inflight=2))


@pytest.mark.parametrize(
    ("intent", "said"),
    [
        (Slowdown(latency_s=0.1, jitter_s=0.02), "round trips to b take longer by 200 ms"),
        (Slowdown(bandwidth_bytes_per_s=1e5), "round trips to b take longer by 328 ms with a load"),
        (
            Slowdown(latency_s=0.05, bandwidth_bytes_per_s=1e4),
            "round trips to b take longer by 100 ms, 2100 ms with a load",
        ),
        (Slowdown(jitter_s=0.05), "listed as disturbed; too little for a round trip to show"),
        (Slowdown(bandwidth_bytes_per_s=1e9), "too little for a round trip to show"),
    ],
)
def test_slowness_is_proven_and_undone_from_the_journal_alone(
    platform: Platform, journal: InjectionJournal, clock: Clock, intent: Slowdown, said: str
) -> None:
    """What was measured is the evidence, or it says that nothing was; undoing twice is harmless."""
    done = FaultSession(platform, journal).apply(SlowNetwork(platform, intent))
    assert said in done["text"]

    (outcome,) = FaultSession(platform, InjectionJournal(journal.path)).revert_all()

    assert platform.acts == [("disturb", "b"), ("mend", "b")]
    assert "as before" in outcome["text"] or "disturbed no more" in outcome["text"]
    assert FaultSession(platform, journal).revert_all() == []


def test_no_answer_is_slower_than_any(platform: Platform, clock: Clock) -> None:
    """A way so narrow that nothing comes through in time is not taken for one that is wide."""
    intent = Slowdown(bandwidth_bytes_per_s=4000)
    fault = SlowNetwork(platform, intent)
    plan = fault.plan()
    platform.round_trip_s = lambda *_: None  # type: ignore[method-assign]
    fault.inject(plan)

    assert fault.verify(plan).data["longer_s"]["b"]["large"] == pytest.approx(5.0, abs=0.1)


def test_answers_as_quick_as_before_are_no_proof(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """A network that lists the condition and does not enforce it is not slow."""
    platform.deaf_network = True

    with pytest.raises(FaultError, match="to take longer by 200 ms within 30 s; last seen"):
        FaultSession(platform, journal).apply(SlowNetwork(platform, Slowdown(latency_s=0.1)))


def test_condition_that_is_not_listed_is_no_proof(journal: InjectionJournal, clock: Clock) -> None:
    """Whatever answers take."""
    platform = Platform(replica("a"), deaf=True)

    with pytest.raises(FaultError, match="expected {'latency_s': 0.1} before a; last seen: {}"):
        FaultSession(platform, journal).apply(SlowNetwork(platform, Slowdown(latency_s=0.1)))


def test_victim_that_died_proves_nothing(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """That a dead replica does not answer says nothing about the network before it."""
    fault = SlowNetwork(platform, Slowdown(latency_s=0.1))
    plan = fault.plan()
    fault.inject(plan)
    platform.engines["b"] = replace(platform.engines["b"], uid="u-b'")

    with pytest.raises(FaultError, match="last seen: {}"):
        fault.verify(plan)
    fault.revert(plan)
    assert fault.verify_reverted(plan).text == "the network before b is disturbed no more"


def test_nobody_to_compare_with_is_said(platform: Platform) -> None:
    """Who has no way that can be disturbed, or is silent already, is not hit at all."""
    platform.without_way = {"b"}

    with pytest.raises(FaultError, match="b: no answer on the way that callers go"):
        SlowNetwork(platform, Slowdown(latency_s=0.1)).plan()

    assert platform.acts == []


def test_slowness_that_outlives_its_undo_is_still_in_force(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """As the target lists it, or as round trips show it."""
    session = FaultSession(platform, journal)
    session.apply(SlowNetwork(platform, Slowdown(latency_s=0.1)))
    platform.disturbed = lambda _: {}  # type: ignore[method-assign]
    platform.mend = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(FaultError, match="round trips to b to take as long as before within 30 s"):
        session.revert_all()

    del platform.disturbed
    with pytest.raises(FaultError, match="b to be disturbed no more within 30 s; .*latency_s"):
        session.revert_all()


def test_intent_says_something() -> None:
    """A network that is as it was is no fault."""
    with pytest.raises(ValidationError, match="expected latency_s, jitter_s or bandwidth"):
        Slowdown()


def test_limits_hold(platform: Platform) -> None:
    """A slow replica counts as one that is hit."""
    with pytest.raises(RefusedError, match="over the blast radius of 50%"):
        SlowNetwork(platform, Slowdown(replicas=2, latency_s=0.1), Limits(share_max=0.5)).plan()
