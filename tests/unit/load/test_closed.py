"""The closed loop: so many users, each with one question at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import numpy as np
import orjson
import pytest
from loads import load_problems, workload
from streaming_server import streaming_server

from faultload.load import collect_rows, make_trace, write_trace
from faultload.load.closed import asking_times, returns_at, users_at
from faultload.load.plan import WorkerPlan
from faultload.load.worker.dispatch import Dispatcher
from faultload.record import read_requests
from faultload.spec.scenario import ClosedArrivals, Scenario

TTFT_S = 0.05


def users(*steps: tuple[float, int], think_s: float = 0.0) -> ClosedArrivals:
    """Return arrivals of (seconds, users)."""
    return ClosedArrivals.model_validate(
        {
            "kind": "closed",
            "steps": [{"for_s": for_s, "users": count} for for_s, count in steps],
            "think_s": think_s,
        }
    )


@pytest.fixture
def url() -> Iterator[str]:
    """A server that sends its first token after TTFT_S."""
    with streaming_server(TTFT_S) as server:
        yield server.url


def test_users_come_and_go() -> None:
    """1, then 50, then 5 users; the last step lasts."""
    arrivals = users((60, 1), (300, 50), (60, 5))
    assert [users_at(arrivals, t) for t in (0, 59.9, 60, 359, 360, 9999)] == [1, 1, 50, 50, 5, 5]
    assert returns_at(arrivals, 0, 12.5) == 12.5
    assert returns_at(arrivals, 4, 10) == 60
    assert returns_at(arrivals, 4, 361) == 361
    assert returns_at(arrivals, 49, 360) == math.inf
    assert users_at(users((1, 3)), 5) == 3


def test_enough_questions_for_the_whole_run() -> None:
    """The trace is bounded, and long enough for users who get an answer every fifth of a second."""
    arrivals = users((10, 2), (10, 50), think_s=0.8)
    times = asking_times(arrivals, 30)
    assert len(times) == 2 * 10 + 50 * 20  # the last step lasts until the end
    assert np.isinf(times).all()
    assert len(asking_times(arrivals, 5)) == 2 * 5
    assert len(asking_times(users((1, 10_000)), 1e6)) == 100_000


def questions(count: int, path: Path) -> None:
    """Write a trace of `count` questions that nobody has a time for."""
    trace = make_trace(workload(kind="constant", rate_rps=1), count, 1)
    write_trace(trace.assign(due_s=math.inf), path)


def play(scenario: Scenario, url: str, out: Path, for_s: float, count: int) -> None:
    """Play a closed loop in this process, and end it."""
    out.mkdir()
    questions(count, out / "trace.parquet")
    plan = WorkerPlan.of(scenario, out / "trace.parquet", url, out)
    plan.path.write_text(plan.model_dump_json())
    dispatcher = Dispatcher(plan, lambda row: None)
    dispatcher.prepare()
    plan.go_path.write_bytes(orjson.dumps({"t0_unix_s": time.time()}))
    dispatcher.wait_for_go()
    playing = gevent.spawn(dispatcher.play)
    gevent.sleep(for_s)
    dispatcher.finish()
    playing.join(5)
    assert playing.successful()


def test_each_user_has_one_question_at_a_time(url: str, tmp_path: Path) -> None:
    """2, 6 and 1 users: never more streams than users, and the record says how it was made."""
    arrivals = users((0.6, 2), (0.6, 6), (0.6, 1), think_s=0.01)
    scenario = workload(**arrivals.model_dump())
    play(scenario, url, tmp_path / "out", 1.6, count=1000)
    summary = collect_rows(
        tmp_path / "out" / "trace.parquet", tmp_path / "out", tmp_path / "requests", end_s=1.6
    )
    table = read_requests(tmp_path / "requests")

    assert summary.loop == "closed"
    assert summary.requests_due == summary.rows == len(table)
    answered = table[table["status"] == "ok"]
    assert len(answered) >= 10
    ttft_s = answered["first_token_s"] - answered["due_s"]
    assert ttft_s.min() >= TTFT_S  # it counts from the wish to ask
    # Two users who ask at the same moment may be written down in either order.
    assert sorted(table["index"]) == list(range(len(table)))
    for start_s, end_s, most in [(0, 0.6, 2), (0.6, 1.2, 6), (1.2, 1.6, 1)]:
        own = table[(table["due_s"] >= start_s) & (table["due_s"] < end_s)]
        open_at = [((own["sent_s"] <= t) & (own["end_s"] > t)).sum() for t in own["sent_s"]]
        assert max(open_at, default=0) <= most, (start_s, most)
    assert summary.health[0].streams_max <= 6
    assert not [text for text in load_problems(summary, table) if "row" in text or "due" in text]


def test_a_slow_platform_is_asked_less_often(tmp_path: Path) -> None:
    """What a closed loop hides: the same users ask a slow platform fewer questions."""
    counts = []
    scenario = workload(**users((60, 2)).model_dump())
    for name, ttft_s in (("quick", 0.02), ("slow", 0.3)):
        with streaming_server(ttft_s) as server:
            play(scenario, server.url, tmp_path / name, 0.8, count=1000)
        counts.append((tmp_path / name / "rows-0.jsonl").read_bytes().count(b"\n"))
    assert counts[0] > 2 * counts[1]


def test_questions_begin_again_when_the_trace_is_over(url: str, tmp_path: Path) -> None:
    """A trace that is too short is asked again, under new numbers: no row takes another's place."""
    play(workload(**users((60, 3)).model_dump()), url, tmp_path / "out", 0.6, count=4)
    summary = collect_rows(
        tmp_path / "out" / "trace.parquet", tmp_path / "out", tmp_path / "requests", end_s=0.6
    )
    table = read_requests(tmp_path / "requests")
    assert len(table) == summary.rows > 4
    assert table["index"].is_unique
    assert set(table["index"] % 1_000_000_000) == {0, 1, 2, 3}
