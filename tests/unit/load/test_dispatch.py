"""The schedule: what was due and not sent is said so, and requests leave when they are due."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import orjson
import pytest

from faultload.load import make_trace, write_trace
from faultload.load.plan import WorkerPlan
from faultload.load.worker.dispatch import Dispatcher
from faultload.record import Tail
from faultload.spec.scenario import Scenario, Timeouts


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., WorkerPlan]:
    """A plan for requests due at 0, 0.1, 0.2 … s."""
    tier = {"tier": "fast", "model": "m", "weight": 1}
    tier |= {"prompt_tokens": {"median": 2}, "output_tokens": {"median": 2}}
    arrivals = {"kind": "constant", "rate_rps": 10}
    scenario = {"name": "s", "description": "d", "arrivals": arrivals, "tiers": [tier]}
    write_trace(make_trace(Scenario.model_validate(scenario), 1.2, 1), tmp_path / "trace")

    def make(url: str = "http://127.0.0.1:1", worker: int = 0, workers: int = 1) -> WorkerPlan:
        return WorkerPlan(
            worker=worker,
            workers=workers,
            trace=tmp_path / "trace",
            base_url=url,
            timeouts=Timeouts(),
            ignore_eos=True,
            out=tmp_path,
            parent_pid=0,
        )

    return make


def go(plan: WorkerPlan, ago_s: float) -> None:
    """Write the start file."""
    plan.go_path.write_bytes(orjson.dumps({"t0_unix_s": time.time() - ago_s}))


def test_due_and_never_released_is_unsent(plan: Callable[..., WorkerPlan]) -> None:
    """A dispatcher stopped before it could release leaves a row for everything that was due."""
    orders = plan()
    told: list[dict[str, Any]] = []
    dispatcher = Dispatcher(orders, told.append)
    go(orders, ago_s=1.05)
    dispatcher.wait_for_go()
    dispatcher.finish()
    dispatcher.finish()
    rows = Tail(orders.rows_path).read()
    assert [row["index"] for row in rows] == list(range(11))
    assert {(row["status"], row["sent_s"]) for row in rows} == {("unsent", None)}
    assert told == []


def test_a_closed_door_is_seen_before_the_start(plan: Callable[..., WorkerPlan]) -> None:
    """A worker that cannot connect is not ready: the run must not begin."""
    orders = plan()
    dispatcher = Dispatcher(orders, lambda row: None)
    with pytest.raises(ConnectionRefusedError):
        dispatcher.prepare()
    dispatcher.finish()
    assert not orders.ready_path.exists()


def test_nothing_is_due_before_the_start(plan: Callable[..., WorkerPlan]) -> None:
    """A load that is stopped while it waits for its start owes nothing."""
    orders = plan()
    Dispatcher(orders, lambda row: None).finish()
    assert orders.rows_path.read_bytes() == b""


def test_requests_leave_when_due_whatever_became_of_the_others(
    serve: Any, plan: Callable[..., WorkerPlan]
) -> None:
    """Open loop: a server that answers nobody holds up nobody; each worker has its own share."""
    server = serve(lambda connection: connection.recv(1) and connection.recv(1_000_000))
    orders = plan(server.url, worker=1, workers=2)
    dispatcher = Dispatcher(orders, lambda row: None)
    go(orders, ago_s=0)
    dispatcher.wait_for_go()
    releasing = gevent.spawn(dispatcher.release_all)
    releasing.join(10)
    assert releasing.successful()
    gevent.sleep(0.1)
    dispatcher.finish()
    gevent.sleep(0.05)
    rows = sorted(Tail(orders.rows_path).read(), key=lambda row: row["index"])
    assert [row["index"] for row in rows] == list(range(1, 12, 2))
    assert all(row["sent_s"] >= row["due_s"] for row in rows)
    watched = Tail(orders.watch_path).read()
    assert watched
    assert {"lag_s_p99", "cpu_share", "stall_s_max", "in_flight"} <= set(watched[0])
