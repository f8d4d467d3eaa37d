"""Every fault on a real local platform: done, proven, felt by its users, undone, and over for them.

What a user would look at: the rows of the load and Prometheus; the control API is not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from live import Live

from faultload.faults import FAULTS, FaultSession
from faultload.faults.limits import NO_LIMITS
from faultload.record import InjectionJournal

pytestmark = pytest.mark.local

Watch = Callable[[Live, str, float], None]
"""Waits until something is seen of a victim in what came after a time, as rows have it."""

READY = 'kube_pod_status_ready{{pod="{}",condition="true"}}'
RESTARTS = 'kube_pod_container_status_restarts_total{{pod="{}"}}'
TOKENS = 'vllm:generation_tokens_total{{replica="{}"}}'
# The router's, since a core that hangs counts no more: its gauges stay what they were, even 0.
WORK = 'sum(inference_router_inflight{{replica="{}"}})'
HEALTHY = 'inference_router_replica_healthy{{replica="{}"}}'
XID = 'DCGM_FI_DEV_XID_ERRORS{{replica="{}"}}'
CORDONED = 'kube_node_spec_unschedulable{{node="{}"}}'
ON_NODE = 'count(kube_pod_info{{node="{}"}}) or vector(0)'
FAST = 'kube_deployment_status_replicas_available{{deployment="fast"}}'


def tier_of(victim: str) -> str:
    """Return the tier that a replica's name begins with."""
    return victim.partition("-")[0]


def shows(promql: str, value: float) -> Watch:
    """Prometheus shows this value for the victim."""
    return lambda live, victim, _: live.wait_for_query(
        promql.format(victim, victim), lambda found: found == value
    )


def gone(live: Live, victim: str, since_s: float) -> None:
    """Its name left for good, and users are served by others."""
    live.wait_for_query(f"count({READY.format(victim)}) or vector(0)", lambda n: n == 0)
    others_serve(live, victim, since_s)


def others_serve(live: Live, victim: str, since_s: float) -> None:
    """Requests due from now on are answered, by replicas of the victim's tier that are not it."""
    tier, now_s = tier_of(victim), live.now_s()

    def holds(rows: pd.DataFrame) -> bool:
        served = rows[(rows["tier"] == tier) & (rows["status"] == "ok")]["served_by"]
        return len(served) >= 3 and victim not in set(served)

    live.wait_for_rows(holds, f"others than {victim} to serve", now_s)


def serves(live: Live, victim: str, since_s: float) -> None:
    """It answers requests that were due after that."""
    live.wait_for_rows(
        lambda rows: ((rows["served_by"] == victim) & (rows["status"] == "ok")).any(),
        f"{victim} to serve",
        since_s,
    )


def tier_is_whole(live: Live, victim: str, since_s: float) -> None:
    """Two replicas answer requests of the victim's tier that were due after that."""
    tier = tier_of(victim)
    live.wait_for_rows(
        lambda rows: (
            rows[(rows["tier"] == tier) & (rows["status"] == "ok")]["served_by"].nunique() >= 2
        ),
        f"two replicas of {tier} to serve",
        since_s,
    )


def restarted(live: Live, victim: str, since_s: float) -> None:
    """Its container was started again after that; a series that is younger began at 0."""
    now, then_unix_s = RESTARTS.format(victim), live.t0_unix_s + since_s
    before = f"({now} @ {then_unix_s:.3f} or {now} * 0)"
    live.wait_for_query(f"{now} - {before}", lambda found: found > 0)


def works_in_vain(live: Live, victim: str, since_s: float) -> None:
    """It has requests, its token counter stands still, and only the others' users get answers."""
    live.wait_for_query(WORK.format(victim), lambda found: found > 0)
    others_serve(live, victim, since_s)
    live.wait_for_query(f"changes({TOKENS.format(victim)}[2s])", lambda found: found == 0)


def tpot_ratio(rows: pd.DataFrame, victim: str) -> float:
    """Return the victim's median time per token over its tier's others'; NaN: too few of either."""
    rows = rows[(rows["tier"] == tier_of(victim)) & (rows["output_tokens"] > 1)]
    tpot_s = (rows["last_token_s"] - rows["first_token_s"]) / (rows["output_tokens"] - 1)
    mine, others = tpot_s[rows["served_by"] == victim], tpot_s[rows["served_by"] != victim]
    return (
        float(mine.median() / others.median()) if min(len(mine), len(others)) >= 3 else float("nan")
    )


def is_slow(live: Live, victim: str, since_s: float) -> None:
    """Its users wait twice as long for a token as others do."""
    live.wait_for_rows(lambda rows: tpot_ratio(rows, victim) > 2, f"{victim} to be slow", since_s)


def is_quick(live: Live, victim: str, since_s: float) -> None:
    """Its users wait no longer for a token than others do."""
    live.wait_for_rows(lambda rows: tpot_ratio(rows, victim) < 1.5, f"{victim} quick", since_s)


def both(*watches: Watch) -> Watch:
    """One after the other."""
    return lambda live, victim, since_s: [w(live, victim, since_s) for w in watches] and None


CASES: list[tuple[str, dict[str, Any], Watch, Watch]] = [
    ("kill_replica", {"tier": "fast"}, restarted, serves),
    ("hang_replica", {"tier": "fast"}, both(shows(READY, 0), others_serve), serves),
    ("delete_replica", {"tier": "fast"}, gone, tier_is_whole),
    ("delete_replica", {"tier": "fast", "grace_s": 0.0}, gone, tier_is_whole),
    ("evict_replica", {"tier": "fast"}, gone, tier_is_whole),
    ("partition_replica", {"tier": "fast"}, both(shows(HEALTHY, 0), others_serve), serves),
    ("hang_engine", {"tier": "fast"}, works_in_vain, serves),
    ("kill_engine", {"tier": "fast"}, restarted, serves),
    ("exhaust_gpu_memory", {"tier": "fast"}, both(shows(READY, 0), others_serve), serves),
    ("slow_gpu", {"tier": "fast"}, is_slow, is_quick),
    ("gpu_xid", {"tier": "fast"}, both(shows(READY, 0), others_serve), serves),
    ("gpu_xid", {"tier": "reasoning", "xid": 74}, shows(XID, 74), both(shows(XID, 0), serves)),
    ("cordon_node", {}, shows(CORDONED, 1), shows(CORDONED, 0)),
    ("drain_node", {}, both(shows(CORDONED, 1), shows(ON_NODE, 0)), shows(CORDONED, 0)),
    ("scale_to", {"tier": "fast", "replicas": 1}, shows(FAST, 1), shows(FAST, 2)),
    ("scale_to", {"tier": "fast", "replicas": 3}, shows(FAST, 3), shows(FAST, 2)),
]


@pytest.mark.parametrize(
    ("name", "arguments", "felt", "over"),
    CASES,
    ids=[f"{name}-{'-'.join(map(str, given.values()))}" for name, given, *_ in CASES],
)
def test_fault_is_done_felt_undone_and_healed(
    watched: Live,
    session: FaultSession,
    name: str,
    arguments: dict[str, Any],
    felt: Watch,
    over: Watch,
) -> None:
    """Each step proves itself, users' data agrees; undoing from the journal twice is harmless."""
    fault, target = FAULTS[name], watched.target
    begun_s = watched.now_s()
    done = session.apply(fault(target, fault.intent(**arguments), NO_LIMITS))
    plan = done["plan"]
    victim = next((one["name"] for one in plan["undo"].get("uncordon", plan["victims"])), "")

    try:
        felt(watched, victim, begun_s)
    finally:
        again = FaultSession(target, InjectionJournal(session.journal.path))
        (outcome,) = again.revert_all()

    over(watched, victim, watched.now_s())
    assert "did not heal" not in outcome["text"]
    assert session.revert_all() == []
    assert all(node.schedulable for node in target.nodes())
