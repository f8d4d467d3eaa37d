"""The master's end of a shared load: hands out shares, passes the start on, keeps what comes back.

Master and workers speak over Locust's own message channel, so that a worker on another machine
needs one address and nothing else. What a worker is told and what it writes are files, as for a
worker that stands alone: the messages carry them.

| message | from | holds |
|--|--|--|
| `faultload_hello` | worker | the share it would like, if any |
| `faultload_orders` | master | its `WorkerPlan`, rows of the trace and `ca`; None: none is left |
| `faultload_clock` | both | the worker's question, answered with the master's wall time |
| `faultload_file` | worker | the next piece of a file: name, offset, data |
| `faultload_go` | master | the moment all times count from, by the master's clock |
| `faultload_stop` | master | end your load and send the rest |
| `faultload_failed` | worker | why it cannot play |
| `faultload_kept` | master | your rows are here, complete: you may drop yours |
"""

from __future__ import annotations

import io
import logging
import os
import time
from pathlib import Path
from typing import Any

import gevent
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner

from faultload.load.plan import MasterPlan, WorkerPlan
from faultload.load.rows import rows_lost

_POLL_S = 0.02
_LAST_ROWS_S = 3.0  # workers have so long to send the rest once the load is stopped
_LEAD_S = 0.5  # from the start given to the first request, where a person starts the load

log = logging.getLogger(__name__)


class Master:
    """Locust's master, when faultload's users run on its workers."""

    def __init__(self, environment: Environment) -> None:
        """Listen to the workers; `begin` says which load they share."""
        assert isinstance(environment.runner, MasterRunner)  # noqa: S101  # made for nothing else
        self._runner = environment.runner
        self._plan: MasterPlan | None = None
        self._orders: dict[str, WorkerPlan] = {}  # by the worker's id in Locust
        listeners = {"hello": self._hello, "clock": self._clock, "file": self._file}
        for name, listener in {**listeners, "failed": self._failed}.items():
            self._runner.register_message(f"faultload_{name}", listener)

    def begin(self, plan: MasterPlan) -> None:
        """Share a new load out among the next workers that ask."""
        self._plan, self._orders = plan, {}
        self._runner.greenlet.spawn(self._watch, plan)

    def end(self, **_: Any) -> None:
        """Stop the workers and wait for their last rows, for a bounded time."""
        for client in self._orders:
            self._runner.send_message("faultload_stop", client_id=client)
        until_s = time.monotonic() + _LAST_ROWS_S
        while any(self._is_open(client) for client in self._orders):
            if time.monotonic() > until_s:
                log.warning("not every worker sent its last rows within %g s", _LAST_ROWS_S)
                break
            gevent.sleep(_POLL_S)

    def _hello(self, msg: Any, **_: Any) -> None:
        plan, client = self._plan, msg.node_id
        taken = {orders.worker for orders in self._orders.values()}
        free = sorted(set(range(plan.workers if plan else 0)) - taken)
        if plan is None or not free or client in self._orders:
            self._runner.send_message("faultload_orders", None, client)
            return
        wanted = msg.data["share"]
        share = int(wanted) if wanted and int(wanted) in free else free[0]
        orders = self._orders[client] = plan.share(share)
        log.info("worker %s plays share %d of %d", client, share + 1, plan.workers)
        data: dict[str, Any] = {
            "plan": orders.model_dump_json(),
            "trace": _share_of_trace(orders),
            "ca": orders.ca.read_bytes() if orders.ca else None,
        }
        self._runner.send_message("faultload_orders", data, client)

    def _clock(self, msg: Any, **_: Any) -> None:
        data = {**msg.data, "unix_s": time.time()}
        self._runner.send_message("faultload_clock", data, msg.node_id)

    def _file(self, msg: Any, **_: Any) -> None:
        """Append a piece; one that does not fit where the last ended is left out, and missed."""
        orders = self._orders.get(msg.node_id)
        if orders is None:
            return
        # A name from another machine is no path of ours.
        ours = (orders.ready_path, orders.rows_path, orders.watch_path, orders.end_path)
        path = next((path for path in ours if path.name == msg.data["name"]), None)
        if path is None:
            return
        with path.open("ab") as file:
            if file.tell() == msg.data["offset"]:
                file.write(msg.data["data"])
        if path == orders.end_path and rows_lost(orders) == 0:
            self._runner.send_message("faultload_kept", None, msg.node_id)

    def _failed(self, msg: Any, **_: Any) -> None:
        if (orders := self._orders.get(msg.node_id)) is not None:
            _write(orders.lost_path, {"why": str(msg.data)})

    def _watch(self, plan: MasterPlan) -> None:
        """Pass the start on when it is there, and note which workers are lost."""
        go_path, gone = plan.share(0).go_path, False
        while self._plan is plan:
            gevent.sleep(_POLL_S)
            ready = [orders.ready_path.exists() for orders in self._orders.values()]
            if not plan.parent_pid and len(ready) == plan.workers and all(ready) and not gone:
                _write(go_path, {"t0_unix_s": time.time() + _LEAD_S})
            if not gone and go_path.exists():
                gone = True
                for client in self._orders:
                    data = orjson.loads(go_path.read_bytes())
                    self._runner.send_message("faultload_go", data, client)
            for client in self._orders:
                self._is_open(client)
            if plan.parent_pid and os.getppid() != plan.parent_pid:
                os._exit(1)  # nobody is left to report to; the workers miss us and end

    def _is_lost(self, client: str) -> bool:
        node = self._runner.clients.get(client)
        return node is None or node.state == STATE_MISSING

    def _is_open(self, client: str) -> bool:
        """Tell whether more is to come from a worker; one found lost is written down."""
        orders = self._orders[client]
        if orders.end_path.exists() or orders.lost_path.exists():
            return False
        if self._is_lost(client):
            log.error("worker %s, share %d, was lost", client, orders.worker + 1)
            _write(orders.lost_path, {"why": "it quit, or sent no heartbeat for 3 s"})
            return False
        return True


def _share_of_trace(orders: WorkerPlan) -> bytes:
    table = pq.read_table(orders.trace, use_threads=False)
    mine = table["index"].to_numpy() % orders.workers == orders.worker
    buffer = io.BytesIO()
    pq.write_table(table.filter(pa.array(mine)), buffer, compression="zstd")
    return buffer.getvalue()


def _write(path: Path, data: dict[str, Any]) -> None:
    """Write a file that nobody sees half of."""
    draft = path.with_suffix(".new")
    draft.write_bytes(orjson.dumps(data))
    draft.replace(path)
