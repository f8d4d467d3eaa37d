"""The abort watch's conditions, in virtual time: what reaches them, and what must not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from scenes import slo

from faultload.record import REQUEST_SCHEMA
from faultload.run.abort.conditions import FRESHNESS, MISSING_S, PRICE, Reading
from faultload.run.abort.monitor import Breach, Monitor
from faultload.spec import StopSpec

RATE = 10
END_S = 120
Rows = list[dict[str, Any]]


def row(due_s: float, status: str = "ok", **changes: Any) -> dict[str, Any]:
    """Return what the load writes of a request that ended 0.3 s after it was due."""
    values: dict[str, Any] = dict.fromkeys(REQUEST_SCHEMA.names)
    served = status == "ok"
    values |= {
        "due_s": due_s,
        "sent_s": due_s,
        "first_token_s": due_s + 0.03 if served else None,
        "last_token_s": due_s + 0.3 if served else None,
        "end_s": due_s + 0.3,
        "status": status,
        "tier": "fast",
        "output_tokens": 20 if served else 0,
        "output_tokens_asked": 20,
        "tokens_missing": 0,
        "tokens_duplicated": 0,
    }
    return values | changes


def steady(is_bad: Callable[[float], bool] = lambda _: False, until_s: float = END_S) -> Rows:
    """Return ten requests a second, refused where `is_bad` says so of their due time."""
    due = np.arange(until_s * RATE) / RATE
    return [row(at, "http_error" if is_bad(at) else "ok") for at in due]


def play(
    monitor: Monitor,
    rows: Iterable[dict[str, Any]] = (),
    readings: Sequence[Reading] = (),
    *,
    harm_s: float = math.inf,
    end_s: int = END_S,
) -> Breach | None:
    """Step once a second through everything; return the first breach."""
    new: dict[int, Rows] = {}
    heard: dict[float, list[Reading]] = {}
    for one in rows:
        new.setdefault(math.ceil(one["end_s"]), []).append(one)
    for reading in readings:
        heard.setdefault(reading.at_s, []).append(reading)
    for now_s in range(end_s):
        came = new.get(now_s, [])
        breach = monitor.step(now_s, came, heard.get(now_s, []), harmed=now_s >= harm_s)
        if breach is not None:
            return breach
    return None


def answers(source: str, *found: float, since_s: int = 0, until_s: int = END_S) -> list[Reading]:
    """Return the same answer every second."""
    return [Reading(source, at_s, found) for at_s in range(since_s, until_s)]


def stop(**conditions: Any) -> list[StopSpec]:
    """Return one file's conditions."""
    return [StopSpec.model_validate(conditions)]


BAD = stop(bad_requests={"share_max": 0.5, "window_s": 10, "requests_min": 20, "for_s": 2})
KV = stop(queries=[{"name": "kv", "promql": "max(kv)", "above": 0.9, "for_s": 5}])
FRESH = stop(telemetry_missing_s=15)


def test_bad_requests_end_a_run_once_it_lasts() -> None:
    """All requests from 60 s on are bad: over half of the window 5 s later, for 2 s."""
    breach = play(Monitor(BAD, []), steady(lambda at: at >= 60))

    assert breach is not None
    assert breach.key == "bad_requests"
    assert (breach.since_s, breach.seen_s) == (66, 68)
    assert "at most 50%" in breach.text


@pytest.mark.parametrize(
    "is_bad",
    [
        lambda at: 60 <= at < 64,  # 40 of 100 in any window
        lambda at: 60 <= at < 65,  # just half of them
        lambda at: round(at * RATE) % 2 == 0,  # half, which is allowed
        lambda _: False,
    ],
)
def test_one_blip_ends_nothing(is_bad: Callable[[float], bool]) -> None:
    """What is over before it lasted is no reason to end a run."""
    assert play(Monitor(BAD, []), steady(is_bad)) is None


def test_too_few_requests_say_nothing() -> None:
    """Nineteen bad ones of nineteen may be chance; in the warm-up nothing is judged."""
    few = [row(10 + i / 10, "cut") for i in range(19)]

    assert play(Monitor(BAD, []), few) is None
    assert play(Monitor(BAD, [], begin_s=END_S), steady(lambda _: True)) is None


def test_what_the_client_failed_to_send_is_not_the_platforms() -> None:
    """Unsent and unfinished requests are no bad ones: the load's own checks answer for them."""
    rows = [row(at / RATE, status) for at in range(500) for status in ("unsent", "unfinished")]

    assert play(Monitor(BAD, []), rows) is None


def test_budget_adds_up_as_the_judge_adds_it() -> None:
    """A second all bad is a bad second: 13 of them are over 0.01 % of a budget of 129,600 s."""
    watched = Monitor(stop(budget_percent_max=0.01), [slo(target=0.95)])

    breach = play(watched, steady(lambda at: at >= 30))

    assert breach is not None
    assert breach.key == "budget_percent_max"
    assert breach.seen_s == 43
    assert "availability has burnt 0.01" in breach.text


def test_budget_is_spent_by_latency_too_and_not_by_the_warm_up() -> None:
    """Each SLO counts its own bad requests; late answers of the warm-up are free."""
    late = [{**one, "first_token_s": one["due_s"] + 0.2} for one in steady()]
    slos = [slo("served"), slo("ttft", "ttft_s <= 0.1")]

    breach = play(Monitor(stop(budget_percent_max=0.01), slos, begin_s=20), late)

    assert breach is not None
    assert breach.text.startswith("ttft has burnt")
    assert breach.seen_s > 30
    assert play(Monitor(stop(budget_percent_max=0.01), slos, begin_s=115), late) is None


def test_budget_of_what_prometheus_counts_is_not_watched() -> None:
    """Its rows are not here; a query of one's own can watch it."""
    counted = [slo("counted", promql=("good", "total"))]

    assert play(Monitor(stop(budget_percent_max=0.01), counted), steady(lambda _: True)) is None


def test_query_ends_a_run_once_it_lasts() -> None:
    """From the first answer over the limit to one 5 s later, all between them over it too."""
    readings = answers("max(kv)", 0.5, until_s=60) + answers("max(kv)", 0.95, since_s=60)

    breach = play(Monitor(KV, []), steady(), readings)

    assert breach is not None
    assert (breach.key, breach.since_s, breach.seen_s) == ("queries.kv", 60, 65)
    assert "0.95 (at most 0.9)" in breach.text


def test_query_counts_every_series_and_may_have_a_floor() -> None:
    """One replica over the limit is enough; `below` looks at the smallest."""
    floor = stop(queries=[{"name": "ready", "promql": "ready", "below": 2, "for_s": 0}])

    assert play(Monitor(KV, []), (), answers("max(kv)", 0.1, 0.95)) is not None
    assert play(Monitor(KV, []), (), answers("max(kv)", math.inf)) is not None
    assert play(Monitor(floor, []), (), answers("ready", 3, 1)) is not None
    assert play(Monitor(floor, []), (), answers("ready", 3, 2)) is None


def test_blip_of_a_query_ends_nothing() -> None:
    """Over the limit, under it, and over again begins anew."""
    values = [0.95 if at % 5 else 0.5 for at in range(END_S)]
    readings = [Reading("max(kv)", at, (value,)) for at, value in enumerate(values)]

    assert play(Monitor(KV, []), (), readings) is None


def test_query_of_the_warm_up_does_not_count() -> None:
    """Caches are cold and replicas may be on their way: nothing is judged there."""
    readings = answers("max(kv)", 0.95, until_s=30) + answers("max(kv)", 0.5, since_s=30)

    assert play(Monitor(KV, [], begin_s=30), (), readings) is None


def test_unanswered_query_grows_no_older() -> None:
    """One answer over the limit and then silence is missing telemetry, not a limit reached."""
    readings = answers("max(kv)", 0.5, until_s=60) + answers(
        "max(kv)", 0.95, since_s=60, until_s=61
    )

    breach = play(Monitor(KV, []), (), readings)

    assert breach is not None
    assert "yields no data" in breach.text
    assert breach.seen_s == 60 + MISSING_S + 1


@pytest.mark.parametrize(
    ("found", "problem", "said"),
    [
        ((), "", "an answer without data"),
        ((math.nan,), "", "a series without a value"),
        ((0.1, math.nan), "", "a series without a value"),
        ((), "Prometheus at http://p: cannot be reached", "cannot be reached"),
    ],
)
def test_query_without_data_is_missing_telemetry(
    found: Sequence[float], problem: str, said: str
) -> None:
    """No data is never zero and never fine: after its bound it ends the run, and says why."""
    readings = [Reading("max(kv)", at_s, found, problem) for at_s in range(END_S)]

    breach = play(Monitor(KV, [], begin_s=10), steady(), readings)

    assert breach is not None
    assert breach.seen_s == 10 + MISSING_S + 1
    assert said in breach.text


@pytest.mark.parametrize("found", [(), (math.nan,)])
def test_query_that_is_empty_for_a_moment_ends_nothing(found: Sequence[float]) -> None:
    """A scrape that came late is a blip too."""
    readings = [Reading("max(kv)", at, (0.5,) if at % 20 else found) for at in range(END_S)]

    assert play(Monitor(KV, []), steady(), readings) is None


def test_silent_prometheus_ends_a_run() -> None:
    """From its last fresh sample on it may be away for 15 s, and not for 16."""
    breach = play(Monitor(FRESH, []), steady(), answers(FRESHNESS, 1.0, until_s=40))

    assert breach is not None
    assert (breach.key, breach.since_s, breach.seen_s) == ("telemetry_missing_s", 38, 54)


def test_prometheus_that_answers_with_stale_samples_is_missing() -> None:
    """It answers every second, and its newest sample gets older and older."""
    readings = [Reading(FRESHNESS, at, (max(0.0, at - 50.0),)) for at in range(END_S)]

    breach = play(Monitor(FRESH, []), steady(), readings)

    assert breach is not None
    assert (breach.since_s, breach.seen_s) == (50, 66)
    assert "16.0 s old" in breach.text


def test_monitor_that_hears_nothing_at_all_ends_the_run() -> None:
    """The thread that asks may be gone: that is seen from what does not come."""
    breach = play(Monitor(FRESH, [], begin_s=20), steady())

    assert breach is not None
    assert (breach.seen_s, "nobody answered yet" in breach.text) == (36, True)


@pytest.mark.parametrize(
    ("conditions", "gaps"),
    [(FRESH, ["*"]), (FRESH, ["up"]), (KV, ["*"]), (KV, ["k?"])],
)
def test_declared_gap_excuses_from_the_harm_on(
    conditions: list[StopSpec], gaps: Sequence[str]
) -> None:
    """What the fault takes away may be missing; before it nothing may."""
    assert play(Monitor(conditions, [], gaps=gaps), steady(), harm_s=10) is None
    assert play(Monitor(conditions, [], gaps=gaps), steady(), harm_s=100) is not None
    assert play(Monitor(conditions, [], gaps=["vllm:*"]), steady(), harm_s=10) is not None


def test_declared_gap_does_not_hide_what_is_there() -> None:
    """A query that is answered counts, whatever may be missing."""
    readings = answers("max(kv)", 0.95)

    assert play(Monitor(KV, [], gaps=["*"]), (), readings, harm_s=0) is not None


def test_rows_that_stop_coming_end_a_run() -> None:
    """By then the client must have given requests up: its words are lost, not the platform slow."""
    due_s = np.arange(END_S * RATE) / RATE
    fresh = answers(FRESHNESS, 1.0)

    def watched() -> Monitor:
        return Monitor(FRESH, [], due_s=due_s, request_s_max=20)

    breach = play(watched(), steady(until_s=40), fresh)

    assert breach is not None
    assert 40 + 20 + 15 <= breach.seen_s <= 40 + 20 + 15 + 2
    assert "load client told of 400 requests" in breach.text
    assert play(watched(), steady(), fresh) is None


def test_closed_loop_has_no_rows_to_miss() -> None:
    """Nobody knows when its users ask."""
    watched = Monitor(FRESH, [], due_s=np.full(100, np.inf), request_s_max=5)

    assert play(watched, (), answers(FRESHNESS, 1.0)) is None


def test_tokens_are_capped_from_the_start() -> None:
    """Those of the warm-up cost money too."""
    breach = play(Monitor(stop(tokens_max=1000), [], begin_s=60), steady())

    assert breach is not None
    assert (breach.key, breach.seen_s) == ("tokens_max", 6)


def test_dollars_are_capped() -> None:
    """What was not known yet when the load began is paid from its begin."""
    watched = Monitor(stop(usd_max=0.5), [])

    breach = play(watched, (), answers(PRICE, 35.9, since_s=10))

    assert breach is not None
    assert (breach.key, breach.seen_s) == ("usd_max", 51)
    assert "0.51 USD (at most 0.5)" in breach.text


def test_dollars_follow_the_price() -> None:
    """A machine that is gone is not paid any more."""
    readings = answers(PRICE, 36.0, until_s=30) + answers(PRICE, 0.0, since_s=30)

    assert play(Monitor(stop(usd_max=0.5), []), (), readings) is None


def test_unknown_price_is_never_zero() -> None:
    """A cap that cannot be watched ends the run."""
    breach = play(Monitor(stop(usd_max=1e6), []), (), answers(PRICE))

    assert breach is not None
    assert "what the target costs is not known" in breach.text


def test_both_files_are_watched() -> None:
    """The stricter of two limits ends the run, whichever file names it."""
    for limits in ((1000, 5000), (5000, 1000)):
        both = [StopSpec(tokens_max=limit) for limit in limits]
        breach = play(Monitor(both, []), steady())
        assert breach is not None
        assert breach.seen_s == 6
