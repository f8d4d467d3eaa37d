"""The load as one worker makes it: a schedule released open loop, or users of a closed one.

Open loop: every request leaves at its due time, whatever became of the others. Closed loop: each
user waits for the answer, thinks, and asks again; a question is due at the moment its user wanted
to ask it.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import gevent
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from gevent.event import Event

from faultload.load.closed import returns_at
from faultload.load.plan import EndNote, WorkerPlan
from faultload.load.worker.client import Client, Due
from faultload.load.worker.watch import SelfWatch
from faultload.record import RequestStatus

_TICK_S = 0.05  # deadlines are checked and rows flushed this often
_GO_POLL_S = 0.01

# Kept connections for about a second of arrivals; the pool grows by itself beyond that.
_WARM_MAX = 64

_ANSWER_MARGIN_S = 10.0  # beyond its total timeout no request is waited for

# Questions that come again are numbered on from here; no trace is as long.
_AGAIN = 1_000_000_000

log = logging.getLogger(__name__)


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
        self._answered: dict[int, Event] = {}  # by index, for users who wait
        self._rows = _Lines(plan.rows_path)
        self._said = _Lines(plan.watch_path)
        api_key = os.environ[plan.api_key_env] if plan.api_key_env else None
        self._client = Client(plan, self.now, self._record, api_key)
        self._watch = SelfWatch(self.now, lambda: self._client.in_flight, self._said.append)

    def now(self) -> float:
        """Seconds since the run's start, on the monotonic clock."""
        return time.monotonic() - self._origin_s

    def prepare(self) -> None:
        """Warm the connections and say that we are ready.

        Raises:
            OSError: the endpoint does not let us in.
        """
        closed = self._plan.closed
        if closed is None:
            connections = min(_WARM_MAX, self._requests.busiest_second)
        else:
            busiest = max(step.users for step in closed.steps)
            connections = min(_WARM_MAX, math.ceil(busiest / self._plan.workers))
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
        self._watch.start()
        gevent.spawn(self._tick)

    def play(self) -> None:
        """Make this worker's share of the load; returns when there is no more to do."""
        closed = self._plan.closed
        if closed is None:
            self.release_all()
            return
        numbers = range(
            self._plan.worker, max(step.users for step in closed.steps), self._plan.workers
        )
        gevent.joinall([gevent.spawn(self.be_user, number) for number in numbers])

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
            self._watch.released(self.now() - due_s)

    def be_user(self, number: int) -> None:
        """Be one user of a closed loop: ask, wait, think, and again, while there is such a user."""
        closed = self._plan.closed
        if closed is None or not len(self._requests):
            return
        chance = np.random.Generator(np.random.PCG64([self._plan.seed, number]))
        present_s = returns_at(closed, number, 0.0)
        # Users who come together do not all ask at once.
        wanted_s = present_s + chance.uniform(0.0, closed.think_s)
        while wanted_s < math.inf:
            gevent.sleep(max(0.0, wanted_s - self.now()))
            if self._finished:
                return
            present_s = returns_at(closed, number, wanted_s)
            if present_s > wanted_s:
                wanted_s = present_s + chance.uniform(0.0, closed.think_s)
                continue
            self._ask(wanted_s)
            wanted_s = self.now() + chance.exponential(closed.think_s)

    def _ask(self, wanted_s: float) -> None:
        """Send the next question and wait for the end of its answer."""
        due = self._requests.question(self._next, wanted_s)
        self._next += 1
        answered = self._answered[due.index] = Event()
        self._client.release(due)
        self._watch.released(self.now() - wanted_s)
        answered.wait(self._plan.timeouts.total_s + _ANSWER_MARGIN_S)

    def finish(self) -> None:
        """Write what is still open as unfinished and what was due as unsent; once."""
        if self._finished:
            return
        self._finished = True
        self._client.stop()
        self._watch.stop()
        if self._going and self._plan.closed is None:
            now_s = self.now()
            while self._next < len(self._requests) and self._requests.due_s[self._next] <= now_s:
                self._rows.append(self._client.unsent(self._requests[self._next]))
                self._next += 1
        self._rows.close()
        self._said.close()
        note = EndNote.of(self._plan.rows_path)
        self._plan.end_path.write_text(note.model_dump_json())

    def _record(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        answered = self._answered.pop(row["index"], None)
        if answered is not None:
            answered.set()
        if row["status"] not in (RequestStatus.UNFINISHED, RequestStatus.UNSENT):
            self._on_row(row)

    def _tick(self) -> None:
        """Check deadlines and flush what was written."""
        while not self._finished:
            gevent.sleep(_TICK_S)
            self._client.tick(self.now())
            try:
                self._rows.flush()
                self._said.flush()
            except OSError as error:  # rows that nobody can read are no evidence: end at once
                log.error("rows cannot be written: %s", error.strerror or error)  # noqa: TRY400
                _leave()
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

    def question(self, at: int, due_s: float) -> Due:
        """Return the next question of a closed loop; when the trace is over it begins again."""
        again, at = divmod(at, len(self))
        due = self[at]
        return replace(due, index=due.index + again * _AGAIN, due_s=due_s)

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
            data, self._pending = b"".join(self._pending), []
            while data:  # a nearly full disk takes a part and then refuses
                data = data[self._file.write(data) or 0 :]

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
