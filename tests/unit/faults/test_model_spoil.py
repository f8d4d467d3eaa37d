"""Spoilt weights: proven by a fetch that fails in that way, over when one succeeds."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError
from faultload.faults.model_spoil import SpoilModel, SpoiltModel
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal
from faultload.targets import Spoiling


@pytest.fixture
def platform() -> Platform:
    """Return a replica of each of two tiers."""
    return Platform(replica("a"), replica("s", tier="slow"))


@pytest.mark.parametrize("how", ["missing", "corrupt", "truncated"])
def test_weights_are_spoilt_and_whole_again(
    platform: Platform, journal: InjectionJournal, clock: Clock, how: Spoiling
) -> None:
    """No replica is hit; undoing twice does nothing more."""
    session = FaultSession(platform, journal)

    done = session.apply(SpoilModel(platform, SpoiltModel(how, "fast")))
    (whole,) = session.revert_all()
    session.revert_all()

    assert (done["plan"]["hit"], done["plan"]["victims"]) == ({}, [])
    assert done["text"] == f"a fetch of fast's weights fails: {how}: as told"
    assert "fast's weights are whole" in whole["text"]
    assert platform.acts == [(f"spoil: {how}", "fast"), ("restore", "fast")]


@pytest.mark.parametrize("found", ["missing: the bucket", "", None])
def test_another_fault_of_the_weights_is_not_taken_for_ours(
    platform: Platform, journal: InjectionJournal, clock: Clock, found: str | None
) -> None:
    """What was asked for must show, and a store that is silent shows nothing."""
    looks = iter([""])
    platform.model_problem = lambda tier: next(looks, found)  # type: ignore[method-assign]

    with pytest.raises(FaultError, match="a fetch of fast's weights to find them corrupt"):
        FaultSession(platform, journal).apply(SpoilModel(platform, SpoiltModel("corrupt", "fast")))


@pytest.mark.parametrize(
    ("found", "said"),
    [("corrupt: a shard", "to be whole, found corrupt: a shard"), (None, "does not answer")],
)
def test_weights_that_are_not_whole_are_not_spoilt(
    platform: Platform, found: str | None, said: str
) -> None:
    """Restoring would take back what was not ours."""
    platform.model_problem = lambda tier: found  # type: ignore[method-assign]

    with pytest.raises(FaultError, match=said):
        SpoilModel(platform, SpoiltModel(tier="fast")).plan()


def test_weights_that_stay_spoilt_are_still_in_force(
    platform: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The order to restore them proves nothing."""
    session = FaultSession(platform, journal)
    session.apply(SpoilModel(platform, SpoiltModel("truncated", "fast")))
    platform.restore_model = lambda tier, token: None  # type: ignore[method-assign]

    with pytest.raises(FaultError, match="to find them whole within 30 s; last seen: truncated"):
        session.revert_all()


def test_tier_must_be_told_where_there_are_several(platform: Platform) -> None:
    """Each has its own weights."""
    with pytest.raises(FaultError, match="name one with 'tier'"):
        SpoilModel(platform).plan()
