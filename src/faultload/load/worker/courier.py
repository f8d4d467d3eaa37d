"""A worker's end of a shared load: fetches its orders, sets its clock, sends what it writes.

See `master` for the messages.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import orjson
from gevent.event import AsyncResult, Event
from locust.exception import RPCError
from locust.runners import WorkerRunner

from faultload.errors import InvalidRunError
from faultload.load.plan import SHARE_VARIABLE, WorkerPlan

_ORDERS_S = 60.0  # a master that shares out a long trace is busy for seconds
_CLOCK_ASKED = 8
_CLOCK_S = 5.0
_SHIP_S = 0.05
_PIECE_BYTES = 1_000_000
_SILENCE_S_MAX = 10.0
"""A master not heard of for so long is gone, and a load that nobody watches must not go on."""

log = logging.getLogger(__name__)


class Courier:
    """Carries one share between the master and this worker's files.

    Args:
        runner: Locust's.
        on_stop: ends the load; the files are complete when it returns.
    """

    def __init__(self, runner: WorkerRunner, on_stop: Callable[[], None]) -> None:
        """Listen to the master."""
        self._runner, self._on_stop = runner, on_stop
        self._orders: AsyncResult[Any] = AsyncResult()
        self._times: list[tuple[float, float]] = []
        self._answered = Event()
        self._plan: WorkerPlan | None = None
        self._sent: dict[Path, int] = {}
        self._shipping: gevent.Greenlet[[], None] | None = None
        self._ahead_s = 0.0  # our wall clock minus the master's
        for name, listener, concurrent in (
            ("orders", self._take_orders, False),
            ("clock", self._take_time, False),
            ("go", self._take_go, False),
            ("kept", self._drop_files, False),
            ("stop", self._take_stop, True),
        ):
            runner.custom_messages.pop(f"faultload_{name}", None)  # of a load before this one
            runner.register_message(f"faultload_{name}", listener, concurrent)

    def fetch(self) -> WorkerPlan | None:
        """Return this worker's orders, its files in a folder of its own; None: no share is left.

        The folder is where the harness that started this worker keeps the load's, else among the
        machine's temporary ones.

        Raises:
            InvalidRunError: the master did not answer.
        """
        wanted = {"share": os.environ.get(SHARE_VARIABLE)}
        self._runner.send_message("faultload_hello", wanted)
        try:
            orders = self._orders.get(timeout=_ORDERS_S)
        except gevent.Timeout:
            raise InvalidRunError(
                f"the master was asked for orders and did not answer within {_ORDERS_S:g} s"
            ) from None
        if orders is None:
            return None
        plan = WorkerPlan.model_validate_json(orders["plan"])
        home = Path.cwd() if wanted["share"] else None
        folder = Path(tempfile.mkdtemp(prefix=f"faultload-share-{plan.worker}-", dir=home))
        trace = folder / "trace.parquet"
        trace.write_bytes(orders["trace"])
        local: dict[str, Any] = {"out": folder, "trace": trace, "parent_pid": 0}
        if plan.ca is not None:
            ca = local["ca"] = folder / "ca.pem"
            ca.write_bytes(orders["ca"])
        self._plan = plan.model_copy(update=local)
        return self._plan

    def start(self) -> None:
        """Measure how far our clock is from the master's, say we are ready, and begin to send.

        Raises:
            InvalidRunError: the master did not answer.
        """
        assert self._plan is not None  # noqa: S101  # fetched before
        for _ in range(_CLOCK_ASKED):
            self._answered.clear()
            self._runner.send_message("faultload_clock", {"sent_s": time.monotonic()})
            if not self._answered.wait(_CLOCK_S):
                raise InvalidRunError(f"the master did not tell the time within {_CLOCK_S:g} s")
        error_s, self._ahead_s = min(self._times)
        ready = orjson.loads(self._plan.ready_path.read_bytes())
        ready |= {"clock_error_s": error_s, "clock_ahead_s": self._ahead_s}
        self._plan.ready_path.write_bytes(orjson.dumps(ready))
        self._ship(self._plan.ready_path)
        self._shipping = gevent.spawn(self._keep_shipping)

    def fail(self, why: str) -> None:
        """Tell the master that this worker cannot play; it has no rows to keep."""
        self._drop_files()
        self._runner.send_message("faultload_failed", why)  # type: ignore[arg-type]  # any data

    def close(self) -> None:
        """Send what is left, once the load has ended."""
        if self._shipping is None or self._plan is None:
            return
        self._shipping.kill(block=False)
        self._shipping = None
        for path in (self._plan.rows_path, self._plan.watch_path, self._plan.end_path):
            self._ship(path)

    def _keep_shipping(self) -> None:
        assert self._plan is not None  # noqa: S101  # started before
        heartbeat, heard_s = None, time.monotonic()
        while True:
            gevent.sleep(_SHIP_S)
            self._ship(self._plan.rows_path)
            self._ship(self._plan.watch_path)
            if heartbeat != self._runner.last_heartbeat_timestamp:
                heartbeat, heard_s = self._runner.last_heartbeat_timestamp, time.monotonic()
            if time.monotonic() - heard_s > _SILENCE_S_MAX:
                log.critical("nothing was heard of the master for %g s: ending", _SILENCE_S_MAX)
                self._shipping = None  # nobody would take the rest; our own files keep it
                self._on_stop()
                os._exit(1)

    def _ship(self, path: Path) -> None:
        """Send what a file has grown by; a piece that cannot be sent is tried again."""
        while path.exists():
            offset = self._sent.get(path, 0)
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(_PIECE_BYTES)
            if not data:
                return
            piece = {"name": path.name, "offset": offset, "data": data}
            try:
                self._runner.send_message("faultload_file", piece)
            except RPCError as error:
                log.warning("rows could not be sent: %s", error)
                return
            self._sent[path] = offset + len(data)

    def _take_orders(self, msg: Any, **_: Any) -> None:
        self._orders.set(msg.data)

    def _take_time(self, msg: Any, **_: Any) -> None:
        sent_s, here_s = float(msg.data["sent_s"]), time.monotonic()
        half_s = (here_s - sent_s) / 2
        self._times.append((half_s, time.time() - half_s - float(msg.data["unix_s"])))
        self._answered.set()

    def _take_go(self, msg: Any, **_: Any) -> None:
        if self._plan is not None:
            t0_unix_s = float(msg.data["t0_unix_s"]) + self._ahead_s
            self._plan.go_path.write_bytes(orjson.dumps({"t0_unix_s": t0_unix_s}))

    def _take_stop(self, **_: Any) -> None:
        self._on_stop()

    def _drop_files(self, **_: Any) -> None:
        if self._plan is not None:
            shutil.rmtree(self._plan.out, ignore_errors=True)
