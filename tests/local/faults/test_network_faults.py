"""What users see of a slow network, of reset connections, and of a router that dies or hangs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from live import Live

from faultload.errors import FaultError
from faultload.faults import FaultSession
from faultload.faults.network_resets import ResetConnections, Resets
from faultload.faults.network_slow import Slowdown, SlowNetwork
from faultload.faults.replica_hang import HangReplica
from faultload.faults.replica_kill import KillReplica
from faultload.faults.victims import Choice
from faultload.record import InjectionJournal
from faultload.targets import Disturbance, LocalTarget, Mark

pytestmark = pytest.mark.local

MARK = Mark("a-token", 0.0)
RETRIES = 'inference_router_retries_total{reason=~"connect|lost|stale_connection"}'


def ttft_s(rows: pd.DataFrame, served_by: Callable[[Any], Any]) -> float:
    """Return the median time to first token of the fast tier's rows served by somebody, s."""
    mine = rows[(rows["tier"] == "fast") & served_by(rows["served_by"])]
    return float((mine["first_token_s"] - mine["due_s"]).median()) if len(mine) > 2 else 0.0


def undo(session: FaultSession, platform: LocalTarget) -> str:
    """Undo what is in force, from the journal alone; say what was proven."""
    (outcome,) = FaultSession(platform, InjectionJournal(session.journal.path)).revert_all()
    assert session.revert_all() == []
    return str(outcome["text"])


def test_first_tokens_of_a_slow_replica_are_late(session: FaultSession, watched: Live) -> None:
    """Users of that replica wait a round trip longer, those of the other do not; then none do."""
    done = session.apply(SlowNetwork(watched.target, Slowdown(tier="fast", latency_s=0.15)))
    victim = done["plan"]["victims"][0]["name"]
    began_s = watched.now_s()

    watched.wait_for_rows(
        lambda rows: (
            ttft_s(rows, lambda who: who == victim) > 0.3
            and 0 < ttft_s(rows, lambda who: who != victim) < 0.25
        ),
        "late first tokens from the victim alone",
        began_s,
    )

    assert "as long as before" in undo(session, watched.target)
    over_s = watched.now_s()
    watched.wait_for_rows(
        lambda rows: 0 < ttft_s(rows, lambda who: who == victim) < 0.25,
        "first tokens of the victim in time",
        over_s,
    )


@pytest.mark.parametrize(
    "intent",
    [Slowdown(tier="fast", bandwidth_bytes_per_s=60_000), Slowdown("redis", latency_s=0.05)],
    ids=["narrow", "redis"],
)
def test_other_ways_are_slowed_and_restored(
    session: FaultSession, platform: LocalTarget, intent: Slowdown
) -> None:
    """A narrow way shows in what is carried along; Redis has a way of its own."""
    done = session.apply(SlowNetwork(platform, intent))

    assert "take longer by" in done["text"]
    assert "as long as before" in undo(session, platform)


def test_router_tries_again_what_was_reset(session: FaultSession, watched: Live) -> None:
    """Its retries count the connections that were lost to it; they end with the fault."""
    before = watched.query(RETRIES) or 0.0
    session.apply(ResetConnections(watched.target, Resets(tier="fast", share=0.9)))

    watched.wait_for_query(RETRIES, lambda retries: retries > before)

    assert undo(session, watched.target).endswith("hold again")
    over_s = watched.now_s()
    watched.wait_for_rows(
        lambda rows: len(rows) >= 20 and (rows["status"] == "ok").all(),
        "twenty requests in a row served",
        over_s + 0.5,
    )


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(KillReplica, id="kill"),
        pytest.param(HangReplica, id="hang", marks=pytest.mark.full),
    ],
)
def test_router_that_dies_or_hangs_makes_users_wait(
    session: FaultSession, watched: Live, fault: Callable[..., Any]
) -> None:
    """Who comes meanwhile waits for a router; afterwards everybody is served as before."""
    began_s = watched.now_s()
    done = session.apply(fault(watched.target, Choice("router")))
    assert done["plan"]["hit"] == {"router": [1, 1]}

    assert "did not heal" not in undo(session, watched.target)
    over_s = watched.now_s()

    def late(rows: pd.DataFrame) -> Any:
        meanwhile = rows[rows["due_s"] < over_s]
        return (meanwhile["first_token_s"] - meanwhile["due_s"] > 0.5).any()

    watched.wait_for_rows(late, "first tokens that came late", began_s)
    watched.wait_for_rows(
        lambda rows: len(rows) >= 20 and (rows["status"] == "ok").all(),
        "twenty requests in a row served",
        over_s + 1,
    )


def test_what_others_did_to_a_link_stays(platform: LocalTarget) -> None:
    """A partition and a latency that are not ours are there afterwards; ours is not put on top."""
    victim = next(one for one in platform.replicas("engine") if one.ready)
    pair = (victim.name, victim.uid)
    try:
        platform.partition([pair], MARK)
        platform.disturb([pair], Disturbance(latency_s=0.01), MARK)
        with pytest.raises(FaultError, match=r"has latency_s 0\.01 already"):
            platform.disturb([pair], Disturbance(latency_s=0.02), MARK)
        platform.disturb([pair], Disturbance(reset_ratio=0.1), MARK)
        platform.mend([pair], Disturbance(latency_s=0.02), "a-token")
        seen = dict(platform.disturbed("a-token"))
        platform.mend([pair, ("gone-7", "u-7")], Disturbance(latency_s=0.01), "a-token")
        left = dict(platform.disturbed("a-token"))
        cut_off = set(platform.partitioned("a-token"))
    finally:
        platform.mend([pair], Disturbance(reset_ratio=0.1), "a-token")
        platform.join([pair], "a-token")

    assert seen == {victim.name: Disturbance(latency_s=0.01, reset_ratio=0.1)}
    assert left == {victim.name: Disturbance(reset_ratio=0.1)}
    assert cut_off == {victim.uid}
    assert platform.disturbed("a-token") == {}


@pytest.mark.parametrize("component", ["router", "prometheus"])
def test_who_has_no_link_is_said(platform: LocalTarget, component: str) -> None:
    """Before the router and Prometheus there is no network that could be disturbed."""
    (there,) = platform.replicas(component)

    for fault in (SlowNetwork(platform, Slowdown(component, latency_s=0.1)),):
        with pytest.raises(FaultError, match=f"{component}: no answer on the way"):
            fault.plan()
    with pytest.raises(FaultError, match="has no network to disturb before it"):
        platform.disturb([(there.name, there.uid)], Disturbance(latency_s=0.1), MARK)


def test_acts_on_parts_never_hit_another(platform: LocalTarget) -> None:
    """A router's uid is that of its process: one that took its place is left alone."""
    (before,) = platform.replicas("router")

    platform.continue_replica("router", "another")
    for act in (
        lambda: platform.kill_replica("router", "another"),
        lambda: platform.stop_replica("router", "another"),
        lambda: platform.disturb([("redis", "another")], Disturbance(latency_s=0.1), MARK),
    ):
        with pytest.raises(FaultError):
            act()

    assert list(platform.replicas("router")) == [before]
    assert list(platform.replicas("links")) == []
