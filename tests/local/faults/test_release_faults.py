"""Releases and weights on a real local platform: what users and operators see of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from live import Live, is_whole, live
from projects import wait_for

from faultload.errors import FaultError
from faultload.faults import FaultSession
from faultload.faults.model_spoil import SpoilModel, SpoiltModel
from faultload.faults.release_bad import BadRelease, FlawedRelease
from faultload.faults.release_roll_out import Release, RollOut
from faultload.faults.replica_delete import DeleteReplica, Deletion
from faultload.record import InjectionJournal
from faultload.targets import Flaw, LocalTarget, Mark, Spoiling

pytestmark = pytest.mark.local

_WITH_WEIGHTS = ("cold_start_s=5", "restart.backoff_s=1")


def names(platform: LocalTarget, tier: str = "fast") -> set[str]:
    """Return the names of a tier's ready replicas."""
    return {one.name for one in platform.replicas("engine") if one.ready and one.tier == tier}


def of_tier(rows: pd.DataFrame, tier: str = "fast") -> pd.DataFrame:
    """Return the rows of a tier's served requests."""
    return rows[(rows["tier"] == tier) & (rows["status"] == "ok")]


def tpot_s(rows: pd.DataFrame) -> float:
    """Return the median time between the tokens of the fast tier's answers."""
    rows = of_tier(rows)
    times = (rows["last_token_s"] - rows["first_token_s"]) / (rows["output_tokens"] - 1)
    return float(times.median())


def test_rolling_update_hands_users_to_new_replicas_and_cuts_nobody(
    watched: Live, session: FaultSession
) -> None:
    """Requests are served by others afterwards, and every one that was due meanwhile is served."""
    platform, since_s = watched.target, watched.now_s()
    old = names(platform)

    session.apply(RollOut(platform, Release(tier="fast")))
    new, replaced_s = names(platform), watched.now_s()
    session.revert_all()

    # The router hears a little later who has gone; what they have begun they finish.
    watched.wait_for_rows(
        lambda rows: set(of_tier(rows)["served_by"]) == new,
        "new replicas alone to serve",
        replaced_s + 0.5,
    )
    watched.wait_for_rows(
        lambda rows: set(of_tier(rows)["served_by"]) >= old | new, "old and new to have", since_s
    )
    assert not old & new
    assert set(watched.rows(since_s)["status"]) == {"ok"}
    updated = 'kube_deployment_status_replicas_updated{deployment="fast"}'
    watched.wait_for_query(updated, lambda found: found == 2)


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("unpullable", "ImagePullBackOff"),
        pytest.param("crashing", "CrashLoopBackOff", marks=pytest.mark.full),
    ],
)
def test_release_that_cannot_start_waits_beside_those_who_serve(
    watched: Live, session: FaultSession, flaw: Flaw, reason: str
) -> None:
    """Operators see why it waits; users see nothing; the old replicas are there afterwards."""
    platform, since_s, old = watched.target, watched.now_s(), names(watched.target)
    waiting = f'kube_pod_container_status_waiting_reason{{reason="{reason}"}} or vector(0)'

    session.apply(BadRelease(platform, FlawedRelease(flaw, tier="fast")))
    watched.wait_for_query(waiting, lambda found: found > 0)
    (back,) = session.revert_all()

    watched.wait_for_query(waiting, lambda found: found == 0)
    assert back["data"]["rollback_s"] < 5
    assert names(platform) == old
    rows = watched.rows(since_s)
    assert set(rows["status"]) == {"ok"}
    assert set(of_tier(rows)["served_by"]) <= old


@pytest.mark.full
def test_slow_release_is_ready_and_users_wait(watched: Live, session: FaultSession) -> None:
    """Nothing is unready; tokens take longer for users, and no longer once it is rolled back."""
    platform = watched.target
    before_s = tpot_s(watched.rows(watched.now_s() - 5))

    session.apply(BadRelease(platform, FlawedRelease("slow", tier="fast")))
    slow_s = watched.now_s()
    assert is_whole(platform)
    watched.wait_for_rows(
        lambda rows: len(of_tier(rows)) > 20 and tpot_s(rows) > 2 * before_s,
        "answers to be slow",
        slow_s,
    )
    session.revert_all()

    watched.wait_for_rows(
        lambda rows: len(of_tier(rows)) > 20 and tpot_s(rows) < 1.5 * before_s,
        "answers to be quick again",
        watched.now_s() + 0.5,
    )
    assert set(watched.rows(slow_s)["status"]) == {"ok"}


def test_somebody_s_release_is_left_alone(watched: Live, session: FaultSession) -> None:
    """What came after ours is not rolled back, nor what is not of our token."""
    platform = watched.target
    session.apply(BadRelease(platform, FlawedRelease(tier="fast")))
    before = platform.rollout("fast", "fast")
    assert before is not None

    platform.roll_back("fast", "fast", "another-token", "r1")
    assert platform.rollout("fast", "fast") == before
    platform._control.call("POST", "/v1/tiers/fast/release", {"pullable": True})
    (over,) = session.revert_all()

    after = platform.rollout("fast", "fast")
    assert after is not None
    assert after.revision not in {before.revision, "r1"}
    assert "that is not our release, which is gone" in over["text"]


def test_acts_never_hit_another(platform: LocalTarget) -> None:
    """A tier that is not there, or not the one that was meant, is an error and not released."""
    mark = Mark("a-token", 0.0)

    assert platform.rollout("no-such", "no-such") is None
    platform.roll_back("no-such", "no-such", "a-token", "r1")
    for act in (
        lambda: platform.roll_out("fast", "another", mark),
        lambda: platform.release("fast", "another", "slow", mark),
        lambda: platform.release("no-such", "no-such", "slow", mark),
        lambda: platform.spoil_model("no-such", "missing", mark),
        lambda: platform.model_problem("fast"),  # the shared platform has no store
    ):
        with pytest.raises(FaultError):
            act()


@pytest.fixture
def with_weights(tmp_path: Path) -> Iterator[Live]:
    """Start a platform whose later replicas load their weights: no machine has them cached."""
    with live(tmp_path, _WITH_WEIGHTS) as started:
        yield started


@pytest.mark.full
@pytest.mark.parametrize("how", ["missing", "corrupt", "truncated"])
def test_replacement_waits_for_its_weights_and_users_are_served_by_the_rest(
    with_weights: Live, tmp_path: Path, how: Spoiling
) -> None:
    """Who has loaded serves on; who comes waits in its init container, until they are whole."""
    platform, since_s = with_weights.target, with_weights.now_s()
    wait_for(lambda: is_whole(platform), 30, "two ready replicas in each tier")
    session = FaultSession(platform, InjectionJournal(tmp_path / "injections.jsonl"))
    waiting = (
        'kube_pod_init_container_status_waiting_reason{reason="CrashLoopBackOff"} or vector(0)'
    )

    spoilt = session.apply(SpoilModel(platform, SpoiltModel(how, "fast")))
    session.apply(DeleteReplica(platform, Deletion(tier="fast")))
    (left,) = names(platform)
    with_weights.wait_for_query(waiting, lambda found: found > 0)
    with_weights.wait_for_rows(
        lambda rows: set(of_tier(rows)["served_by"]) == {left},
        "the replica that is left to serve everybody",
        with_weights.now_s(),
    )
    session.revert_all()

    assert spoilt["text"].startswith(f"a fetch of fast's weights fails: {how}: ")
    assert is_whole(platform)
    with_weights.wait_for_query(waiting, lambda found: found == 0)
    with_weights.wait_for_rows(
        lambda rows: len(set(of_tier(rows)["served_by"])) == 2,
        "the replacement to serve",
        with_weights.now_s(),
    )
    assert set(with_weights.rows(since_s)["status"]) == {"ok"}
