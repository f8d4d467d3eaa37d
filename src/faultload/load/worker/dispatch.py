"""The schedule, released open loop: every request at its due time, whatever became of the others.

The worker's own health is part of the evidence, so it is written down every second: how late it
released, how much of a core it used, how long its event loop stood still.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import gevent
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from faultload.load.plan import WorkerPlan
from faultload.load.worker.client import Client, Due
from faultload.record import RequestStatus

_TICK_S = 0.05  # deadlines are checked and rows flushed this often
_WATCH_S = 1.0
_GO_POLL_S = 0.01

# Kept connections for about a second of arrivals; the pool grows by itself beyond that.
_WARM_MAX = 64


class Dispatcher:
    """One worker's share of a trace, from the ready file to the last row.

    Args:
        plan: the worker's orders.
        on_row: told of every finished request too, after its row was written.
    """

    def __init__(self, plan: WorkerPlan, on_row: Callable[[dict[str, Any]], None]) -> None:
        """Read the trace; open nothing."""
        self._plan = plan
        self._on_row = on_row
        self._origin_s = time.monotonic()
        self._requests = _Requests(plan)
        self._next = 0  # position of the first request not yet released
        self._finished = False
        self._going = False
        self._lags: list[float] = []
        self._rows = _Lines(plan.rows_path)
        self._watch = _Lines(plan.watch_path)
        api_key = os.environ[plan.api_key_env] if plan.api_key_env else None
        self._client = Client(plan, self.now, self._record, api_key)

    def now(self) -> float:
        """Seconds since the run's start, on the monotonic clock."""
        return time.monotonic() - self._origin_s

    def prepare(self) -> None:
        """Warm the connections and say that we are ready.

        Raises:
            OSError: the endpoint does not let us in.
        """
        connections = min(_WARM_MAX, self._requests.busiest_second)
        self._client.pool.warm(connections, self._plan.timeouts.connect_s)
        gc.collect()
        gc.freeze()  # the trace and the libraries never die: keep the collector off them
        ready = {"pid": os.getpid(), "requests": len(self._requests), "connections": connections}
        self._plan.ready_path.write_bytes(orjson.dumps(ready))

    def wait_for_go(self) -> None:
        """Wait for the start file and set the clock by it."""
        while not self._plan.go_path.exists():
            self._end_if_orphaned()
            gevent.sleep(_GO_POLL_S)
        go = orjson.loads(self._plan.go_path.read_bytes())
        self._origin_s = _monotonic_at(float(go["t0_unix_s"]))
        self._going = True
        gevent.spawn(self._keep_watch)

    def release_all(self) -> None:
        """Release every request at its due time."""
        requests, client = self._requests, self._client
        while self._next < len(requests):
            due_s = requests.due_s[self._next]
            # Yield even when late: the requests released so far must get on the wire.
            gevent.sleep(max(0.0, due_s - self.now()))
            if self._finished:
                return
            client.release(requests[self._next])
            self._next += 1
            self._lags.append(self.now() - due_s)

    def finish(self) -> None:
        """Write what is still open as unfinished and what was due as unsent; once."""
        if self._finished:
            return
        self._finished = True
        self._client.stop()
        if self._going:
            now_s = self.now()
            while self._next < len(self._requests) and self._requests.due_s[self._next] <= now_s:
                self._rows.append(self._client.unsent(self._requests[self._next]))
                self._next += 1
        self._rows.close()
        self._watch.close()

    def _record(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if row["status"] not in (RequestStatus.UNFINISHED, RequestStatus.UNSENT):
            self._on_row(row)

    def _keep_watch(self) -> None:
        """Check deadlines, flush rows, and write what we see of ourselves."""
        stall_s, said_s, cpu_s, ticked_s = 0.0, self.now(), time.process_time(), self.now()
        while not self._finished:
            gevent.sleep(_TICK_S)
            now_s = self.now()
            stall_s, ticked_s = max(stall_s, now_s - ticked_s - _TICK_S), now_s
            self._client.tick(now_s)
            self._rows.flush()
            if now_s - said_s < _WATCH_S:
                continue
            used_s = time.process_time() - cpu_s
            lags, self._lags = self._lags, []
            self._watch.append(
                {
                    "t_s": now_s,
                    "lag_s_p99": float(np.quantile(lags, 0.99)) if lags else None,
                    "cpu_share": used_s / (now_s - said_s),
                    "stall_s_max": stall_s,
                    "in_flight": self._client.in_flight,
                    "released": self._next,
                }
            )
            self._watch.flush()
            stall_s, said_s, cpu_s = 0.0, now_s, time.process_time()
            self._end_if_orphaned()

    def _end_if_orphaned(self) -> None:
        if self._plan.parent_pid and os.getppid() != self._plan.parent_pid:
            self.finish()
            _leave()


class _Requests:
    """This worker's rows of the trace; prompts stay in Arrow memory until they are sent."""

    def __init__(self, plan: WorkerPlan) -> None:
        table = pq.read_table(plan.trace, use_threads=False)
        mine = table["index"].to_numpy() % plan.workers == plan.worker
        table = table.filter(pa.array(mine))
        self._prompts = table["prompt"]
        self._fields: dict[str, list[Any]] = table.drop_columns("prompt").to_pydict()
        self.due_s: list[float] = self._fields["due_s"]

    def __len__(self) -> int:
        return len(self.due_s)

    def __getitem__(self, at: int) -> Due:
        fields = {name: values[at] for name, values in self._fields.items()}
        return Due(prompt=self._prompts[at].as_py(), **fields)

    @property
    def busiest_second(self) -> int:
        """Most requests due within one second."""
        return int(np.bincount(np.floor(self.due_s).astype(int)).max()) if self.due_s else 0


class _Lines:
    """JSON lines, appended; in memory until flushed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._pending: list[bytes] = []

    def append(self, line: dict[str, Any]) -> None:
        self._pending.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        if self._pending and not self._file.closed:
            self._file.write(b"".join(self._pending))
            self._pending.clear()

    def close(self) -> None:
        self.flush()
        self._file.close()


def _monotonic_at(unix_s: float) -> float:
    """Return what the monotonic clock shows at a wall time; the tightest of a few readings."""
    readings = []
    for _ in range(5):
        before_s = time.monotonic()
        wall_s = time.time()
        after_s = time.monotonic()
        readings.append((after_s - before_s, (before_s + after_s) / 2 - wall_s))
    return unix_s + min(readings)[1]


def _leave() -> NoReturn:
    os._exit(1)  # nobody is left to report to, and Locust's own way out may wait for users
