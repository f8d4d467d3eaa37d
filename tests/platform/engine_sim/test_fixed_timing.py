"""Known timing: exact, without drift, whatever else runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_platform.engine_sim.fixed_timing import FixedTiming
from inference_platform.engine_sim.scheduler import Request


def play(scheduler: FixedTiming, late_s: float = 0.0) -> dict[str, list[float]]:
    """Run to the end, the caller always `late_s` late; return each request's token times."""
    times: dict[str, list[float]] = {}
    while (due := scheduler.next_at) is not None:
        for request in scheduler.step(due + late_s).tokens:
            assert request.last_token_s is not None
            times.setdefault(request.request_id, []).append(request.last_token_s)
    return times


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0, 0.5))
def test_token_i_is_due_exactly_ttft_plus_i_tpot_after_arrival(
    arrivals: list[float], late_s: float
) -> None:
    """Neither other requests nor a late caller move a token: times are equal, not close."""
    scheduler = FixedTiming(ttft_s=0.3, tpot_s=0.07)
    for index, arrived_s in enumerate(arrivals):
        scheduler.add(Request(str(index), 5, 9, arrived_s))
    times = play(scheduler, late_s)
    for index, arrived_s in enumerate(arrivals):
        assert times[str(index)] == [arrived_s + 0.3 + i * 0.07 for i in range(9)]


def test_latencies_are_those_that_were_asked_for() -> None:
    """What metrics observe is the known value, so a measuring error is the measurer's."""
    scheduler = FixedTiming(ttft_s=0.5, tpot_s=0.125)
    request = Request("a", 5, 4, 10.0)
    scheduler.add(request)
    latencies = []
    while (due := scheduler.next_at) is not None:
        latencies += scheduler.step(due).latencies_s
    assert request.first_token_s == 10.5
    assert latencies == [None, 0.125, 0.125, 0.125]


def test_an_aborted_request_emits_no_more() -> None:
    """Aborting works between any two tokens and leaves others alone."""
    scheduler = FixedTiming(1.0, 1.0)
    gone, stays = Request("gone", 1, 5, 0.0), Request("stays", 1, 2, 0.25)
    scheduler.add(gone)
    scheduler.add(stays)
    scheduler.step(1.0)
    scheduler.abort(gone)
    assert scheduler.running == 1
    assert play(scheduler) == {"stays": [1.25, 2.25]}
    assert gone.emitted_tokens == 1
    assert scheduler.running == 0


def test_nothing_waits() -> None:
    """Known timing has no queue and no cache."""
    scheduler = FixedTiming(1.0, 1.0)
    for index in range(1000):
        scheduler.add(Request(str(index), 10_000, 5, 0.0))
    assert (scheduler.running, scheduler.waiting, scheduler.kv_usage) == (1000, 0, 0.0)
    assert scheduler.next_at == pytest.approx(1.0)
