"""The Locust user around a load, and its place in Locust: alone, as master, or as a worker.

The harness starts this file headless with orders in the environment. A person starts it through
`scenarios/locustfile.py`, with Locust's web page or without. One process makes one share of the
load, whatever the number of Locust users in it; only in a closed loop that a person started is
each Locust user one of the users who ask.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import orjson
from gevent.event import Event
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import EventHook
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from faultload.errors import FaultloadError
from faultload.load.checks import check_api_key
from faultload.load.plan import (
    MASTER_VARIABLE,
    PARENT_VARIABLE,
    PLAN_VARIABLE,
    MasterPlan,
    WorkerPlan,
)
from faultload.load.trace import make_trace, write_trace
from faultload.load.worker.connection import words_of
from faultload.load.worker.courier import Courier
from faultload.load.worker.dispatch import Dispatcher
from faultload.load.worker.master import Master
from faultload.load.worker.statistics import report
from faultload.secrecy import guard_process
from faultload.spec import load_scenario
from faultload.spec.scenario import UserStep

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LEAD_S = 0.5

log = logging.getLogger(__name__)

# Before Locust sets up its log, which keeps the streams that it finds.
guard_process()


def _tie_to(parent_pid: int) -> None:
    """End with the process that asked for this load."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit("the process that asked for this load is gone")


def _worker_orders() -> WorkerPlan | None:
    path = os.environ.get(PLAN_VARIABLE)
    return WorkerPlan.model_validate_json(Path(path).read_bytes()) if path else None


def _master_orders() -> MasterPlan | None:
    path = os.environ.get(MASTER_VARIABLE)
    return MasterPlan.model_validate_json(Path(path).read_bytes()) if path else None


# None: a person started Locust, or (a worker's) they come from the master.
_ORDERS, _MASTER_ORDERS = _worker_orders(), _master_orders()
for _parent_pid in (
    _ORDERS.parent_pid if _ORDERS else 0,
    _MASTER_ORDERS.parent_pid if _MASTER_ORDERS else 0,
    int(os.environ.get(PARENT_VARIABLE, "0")),
):
    if _parent_pid:
        _tie_to(_parent_pid)


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


@events.init.add_listener  # type: ignore[untyped-decorator]
def _be_master(environment: Environment, **_: Any) -> None:
    """Take Locust's master's part, if this is one."""
    if not isinstance(environment.runner, MasterRunner):
        return
    master = Master(environment)
    _listen(environment.events.quitting, master.end)
    if _MASTER_ORDERS is not None:
        master.begin(_MASTER_ORDERS)
        return

    def begin(**_: Any) -> None:
        runner = environment.runner
        assert isinstance(runner, MasterRunner)  # noqa: S101  # it was
        # Locust deals users to workers in turn: fewer users leave workers without one.
        workers = max(1, min(runner.worker_count, runner.target_user_count))
        try:
            orders = _own_orders(environment, workers)
        except StopUser:  # it was said why; the workers find that there is nothing to play
            return
        master.begin(MasterPlan(workers=workers, out=orders.out))

    _listen(environment.events.test_start, begin)


class _Share:
    """This process's share of a load, from its orders to its last row."""

    current: _Share | None = None

    def __init__(self, environment: Environment) -> None:
        """Do nothing yet."""
        self._environment = environment
        self._dispatcher: Dispatcher | None = None
        self._courier: Courier | None = None
        self.begun, self.ended = Event(), False
        self._alone, self._plays_users = False, False
        self._numbers = itertools.count()

    @classmethod
    def join(cls, environment: Environment) -> _Share:
        """Return the share in progress, begun if need be."""
        share = cls.current
        if share is None or share.ended:
            share = cls.current = cls(environment)
            share.begin()
        share.begun.wait()
        return share

    def play(self) -> None:
        """Make the load, the first time; later users are there for Locust's counting only."""
        number, dispatcher = next(self._numbers), self._dispatcher
        if dispatcher is not None and self._plays_users:
            dispatcher.be_user(number)
        elif dispatcher is not None and number == 0:
            dispatcher.play()
            if not self.ended:
                log.info("the schedule is over")

    def end(self, **_: Any) -> None:
        """Close the books; once."""
        if self.ended:
            return
        self.ended = True
        if self._dispatcher is not None:
            self._dispatcher.finish()
        if self._courier is not None:
            self._courier.close()

    def begin(self) -> None:
        """Fetch the orders, make ready, and wait for the start."""
        # Listeners of this hour run before Locust's own when it quits: the last rows still go out.
        _listen(self._environment.events.quitting, self.end)
        _listen(self._environment.events.test_stop, self.end)
        try:
            orders = self._orders()
            if orders is not None:
                self._dispatcher = Dispatcher(orders, lambda row: report(self._environment, row))
                self._prepare(orders)
                self._dispatcher.wait_for_go()
        except FaultloadError as error:
            self._give_up(str(error))
        finally:
            self.begun.set()

    def _orders(self) -> WorkerPlan | None:
        if _ORDERS is not None:
            return _ORDERS
        if isinstance(self._environment.runner, WorkerRunner):
            self._courier = Courier(self._environment.runner, self.end)
            orders = self._courier.fetch()
            if orders is None:
                log.warning("every share of the load is taken: this worker stands by")
            else:
                check_api_key(orders.api_key_env)
            return orders
        orders = _own_orders(self._environment, 1)
        self._alone = True
        if orders.closed is not None:  # Locust's number of users decides
            self._plays_users = True
            anyone = [UserStep(for_s=1, users=10_000)]
            closed = orders.closed.model_copy(update={"steps": anyone})
            orders = orders.model_copy(update={"closed": closed})
        return orders

    def _prepare(self, orders: WorkerPlan) -> None:
        assert self._dispatcher is not None  # noqa: S101  # made just before
        try:
            self._dispatcher.prepare()
        except OSError as error:
            problem = f"cannot reach {orders.base_url}: {words_of(error)}"
            if isinstance(error, ssl.SSLCertVerificationError):
                problem += "; if it is to be trusted, name its authority in the target file"
                problem += " (load.ca) or in SSL_CERT_FILE"
            if not self._alone:
                self._give_up(problem)
            log.critical(problem)  # a person may want to watch the endpoint come up: play on
        if self._courier is not None:
            self._courier.start()
        if self._alone:
            orders.go_path.write_bytes(orjson.dumps({"t0_unix_s": time.time() + _LEAD_S}))

    def _give_up(self, why: str) -> None:
        """End a worker that cannot play: before the start there is nothing to save."""
        log.critical(why)
        if self._alone or (_ORDERS is None and self._courier is None):
            raise StopUser
        if self._courier is not None:
            self._courier.fail(why)
            gevent.sleep(0.2)  # Locust's channel sends in the background
        logging.shutdown()
        os._exit(1)


class ChatUser(User):
    """Plays one process's share of a load; its requests are not Locust tasks."""

    def on_start(self) -> None:
        """Make ready, and wait for the start."""
        self._share = _Share.join(self.environment)

    @task
    def play(self) -> None:
        """Play, then wait to be stopped."""
        self._share.play()
        while True:
            gevent.sleep(60)


def _listen(hook: EventHook, listener: Callable[..., None]) -> None:
    hook.add_listener(listener)  # type: ignore[no-untyped-call]


def _own_orders(environment: Environment, workers: int) -> WorkerPlan:
    """Return the first of the orders for Locust's own options; all of them are written down."""
    options: Any = environment.parsed_options
    out = Path(tempfile.mkdtemp(prefix="faultload-load-"))
    try:
        scenario = load_scenario(Path(options.scenario))
        folder = Path(options.scenario).parent
        trace = make_trace(scenario, options.duration, scenario.seed, folder)
    except FaultloadError as error:
        log.critical("%s", error)
        raise StopUser from None
    write_trace(trace, out / "trace.parquet")
    log.info("rows are written to %s", out)
    url = environment.host or "http://127.0.0.1:8000"
    plans = [
        WorkerPlan.of(scenario, out / "trace.parquet", url, out, worker=number, workers=workers)
        for number in range(workers)
    ]
    for plan in plans:
        plan.path.write_text(plan.model_dump_json())
    return plans[0]
