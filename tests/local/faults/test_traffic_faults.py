"""Faults made of traffic, as users and operators see them: queues, caches, and their end."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from live import Live

from faultload.faults import FaultSession
from faultload.faults.kv_cache_fill import FillKvCache, Pressure
from faultload.faults.limits import NO_LIMITS
from faultload.faults.load_add import AddLoad, Traffic
from faultload.record import InjectionJournal

pytestmark = pytest.mark.local

_RUNNING = 'sum(vllm:num_requests_running{tier="fast"})'
_WAITING = 'sum(vllm:num_requests_waiting{tier="fast"})'


def tpot_s(rows: pd.DataFrame) -> float:
    """Return the median time between tokens of the fast tier's answers, s."""
    fast = rows[(rows["tier"] == "fast") & (rows["status"] == "ok") & (rows["output_tokens"] > 1)]
    tpot = (fast["last_token_s"] - fast["first_token_s"]) / (fast["output_tokens"] - 1)
    return float(tpot.median()) if len(tpot) > 10 else float("nan")


@pytest.mark.full
def test_burst_takes_seats_and_time_from_users_while_it_lasts(
    session: FaultSession, watched: Live
) -> None:
    """Batches are fuller and tokens slower; when it is over both are as before."""
    watched.wait_for_rows(lambda rows: tpot_s(rows) > 0, "a calm baseline", 0.0)
    calm_s = tpot_s(watched.rows())
    crowd = Traffic(model="chat-fast", users=90, think_s=0.0, output_tokens=100)
    done = session.apply(AddLoad(watched.target, crowd))
    folder = Path(done["plan"]["undo"]["senders"][0])
    since_s = watched.now_s()

    watched.wait_for_query(_RUNNING, lambda found: found >= 50)
    watched.wait_for_query(_WAITING, lambda found: found >= 10)
    watched.wait_for_rows(lambda rows: tpot_s(rows) > 1.3 * calm_s, "slower tokens", since_s)

    (outcome,) = FaultSession(watched.target, InjectionJournal(session.journal.path)).revert_all()
    assert outcome["data"]["refused_requests"] == 0
    assert not folder.exists()
    over_s = watched.now_s()
    watched.wait_for_query(_RUNNING, lambda found: found < 20)
    watched.wait_for_query(_WAITING, lambda found: found == 0)
    watched.wait_for_rows(lambda rows: tpot_s(rows) < 1.15 * calm_s, "tokens as before", over_s)


@pytest.mark.full
def test_full_cache_preempts_and_makes_users_wait_while_it_lasts(
    session: FaultSession, watched: Live
) -> None:
    """The gauge, the preemptions and the queue of the victim, and nothing of it afterwards."""
    preempted = watched.query("sum(vllm:num_preemptions_total)") or 0.0
    done = session.apply(FillKvCache(watched.target, Pressure(tier="fast"), NO_LIMITS))
    victim = done["plan"]["victims"][0]["name"]
    used = f'vllm:kv_cache_usage_perc{{replica="{victim}"}}'

    watched.wait_for_query(used, lambda found: found >= 0.9)
    watched.wait_for_query("sum(vllm:num_preemptions_total)", lambda found: found > preempted)
    watched.wait_for_query(_WAITING, lambda found: found > 0)

    session.revert_all()
    watched.wait_for_query(used, lambda found: found < 0.3)
    watched.wait_for_query(_WAITING, lambda found: found == 0)


def test_nothing_here_is_scaled_by_itself(watched: Live) -> None:
    """The capability is the platform's own word; without it the autoscaling test is skipped."""
    assert "autoscaling" not in watched.target.capabilities
