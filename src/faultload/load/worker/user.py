"""The Locust user: one dispatcher that plays a schedule.

The runner starts this file headless with a plan in the environment. A person starts it through
`scenarios/locustfile.py`, with Locust's web page or without, and with one user: each user plays
the whole schedule.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gevent
import orjson
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.exception import StopUser

from faultload.errors import FaultloadError
from faultload.load.plan import PLAN_VARIABLE, WorkerPlan
from faultload.load.trace import make_trace, write_trace
from faultload.load.worker.dispatch import Dispatcher
from faultload.record import RequestStatus
from faultload.spec import load_scenario

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = logging.getLogger(__name__)


def _orders() -> WorkerPlan | None:
    """Return the runner's plan, tied to its life; None when a person started Locust."""
    path = os.environ.get(PLAN_VARIABLE)
    if path is None:
        return None
    plan = WorkerPlan.model_validate_json(Path(path).read_bytes())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != plan.parent_pid:
        sys.exit("the process that asked for this load is gone")
    return plan


_PLAN = _orders()


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--scenario",
        default="scenarios/chat-steady.yaml",
        env_var="FAULTLOAD_SCENARIO",
        help="the workload to play",
    )
    parser.add_argument(
        "--duration",
        type=float,
        default=600.0,
        env_var="FAULTLOAD_DURATION",
        help="seconds of it to make",
    )


class ChatUser(User):
    """Plays one worker's share of a trace; its requests are not Locust tasks."""

    def on_start(self) -> None:
        """Make ready, and wait for the start."""
        plan = _PLAN or self._own_plan()
        self._dispatcher = Dispatcher(plan, self._fire)
        try:
            self._dispatcher.prepare()
        except OSError as error:
            log.critical("cannot reach %s: %s", plan.base_url, error.strerror or error)
            if _PLAN is not None:
                logging.shutdown()
                os._exit(1)  # before the start there is nothing to save
            # A person may want to watch the endpoint come up: play on.
        self.environment.events.quitting.add_listener(lambda **_: self._dispatcher.finish())
        self._dispatcher.wait_for_go()

    @task
    def play(self) -> None:
        """Release the whole schedule, then wait to be stopped."""
        self._dispatcher.release_all()
        log.info("the schedule is over")
        while True:
            gevent.sleep(60)

    def on_stop(self) -> None:
        """Close the books when the test is stopped from Locust's page."""
        self._dispatcher.finish()

    def _own_plan(self) -> WorkerPlan:
        """Return a plan for Locust's own options, already going."""
        options: Any = self.environment.parsed_options
        out = Path(tempfile.mkdtemp(prefix="faultload-load-"))
        try:
            scenario = load_scenario(Path(options.scenario))
            trace = make_trace(
                scenario, options.duration, scenario.seed, Path(options.scenario).parent
            )
        except FaultloadError as error:
            log.critical("%s", error)
            raise StopUser from None
        write_trace(trace, out / "trace.parquet")
        log.info("rows are written to %s", out)
        plan = WorkerPlan(
            worker=0,
            workers=1,
            trace=out / "trace.parquet",
            base_url=self.environment.host or "http://127.0.0.1:8000",
            timeouts=scenario.timeouts,
            ignore_eos=scenario.ignore_eos,
            out=out,
            parent_pid=0,
        )
        plan.go_path.write_bytes(orjson.dumps({"t0_unix_s": time.time() + 0.5}))
        return plan

    def _fire(self, row: dict[str, Any]) -> None:
        """Tell Locust, so that its statistics and its page work. Latency counts from due."""
        failed = row["status"] != RequestStatus.OK
        self.environment.events.request.fire(
            request_type="POST",
            name=row["model"],
            response_time=(row["end_s"] - row["due_s"]) * 1000,
            response_length=row["output_tokens"],
            exception=RuntimeError(row["status"]) if failed else None,
            context={"tier": row["tier"], "tenant": row["tenant"]},
        )
