"""The door to the load: start the Locust processes, watch their rows, stop them, collect."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from faultload.errors import DefectError, InvalidRunError
from faultload.load.checks import check_api_key
from faultload.load.plan import (
    MASTER_VARIABLE,
    PARENT_VARIABLE,
    PLAN_VARIABLE,
    SHARE_VARIABLE,
    Endpoint,
    MasterPlan,
    WorkerPlan,
    address_of,
)
from faultload.load.remote import LOCUSTFILE
from faultload.load.rows import collect_rows
from faultload.record import LoadSummary, Tail
from faultload.spec.scenario import Scenario

_POLL_S = 0.02
_KILL_WAIT_S = 5.0  # a killed process is gone by then, or the kernel is in trouble


class LoadGenerator:
    """Plays a trace against an endpoint, in Locust processes of its own.

    One worker is one process. More are a Locust master and its workers, which share the trace out:
    on this machine, or, with `listen`, wherever `faultload load worker` is started.

    Call `start`, `wait_ready`, `go`, `poll` as often as you like, `stop`, `collect`. The workers
    end with the thread that called `start` (Linux) and in any case with this process.

    Args:
        trace: Parquet file as `write_trace` makes it.
        scenario: its timeouts and `ignore_eos` are used.
        base_url: `http://HOST[:PORT][/PATH]`, or `https://…`.
        out: directory for the workers' files; made if missing.
        logs: directory for Locust's own words; made if missing.
        workers: how many; each takes every n-th request, or every n-th user of a closed loop.
        api_key_env: name of the environment variable with the API key; None: none is sent.
        listen: `HOST:PORT` at which the master waits for workers of other machines; None: they
            are started here.
        ca: PEM file of the authorities to trust for https; None: the system's, or SSL_CERT_FILE's.

    Raises:
        UsageError: the URL is not one we can speak to, or `listen` is no address.
        MissingError: the API key's variable is not set.
    """

    def __init__(  # noqa: PLR0913 (what a load is made of)
        self,
        trace: Path,
        scenario: Scenario,
        base_url: str,
        out: Path,
        logs: Path,
        workers: int = 1,
        api_key_env: str | None = None,
        listen: str | None = None,
        ca: Path | None = None,
    ) -> None:
        """Check what can be checked before anything runs."""
        Endpoint.of(base_url)
        self._listen = None if listen is None else address_of(listen)
        if listen is None:  # else the workers need it, where they are
            check_api_key(api_key_env)
        self._trace = trace.resolve()
        self._logs = logs
        self._plans = [
            WorkerPlan.of(
                scenario,
                self._trace,
                base_url,
                out.resolve(),
                worker=number,
                workers=workers,
                parent_pid=os.getpid(),
                api_key_env=api_key_env,
                ca=None if ca is None else ca.resolve(),
            )
            for number in range(workers)
        ]
        self._out = out.resolve()
        self._tails = [Tail(plan.rows_path) for plan in self._plans]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}  # by the name of its log
        self.port: int | None = None
        """Where Locust's master will listen; None: there is none, or not yet."""
        self._t0_s: float | None = None  # of the monotonic clock: the other one may step
        self._stopped_s: float | None = None
        self._told: list[subprocess.Popen[bytes]] = []  # to end, by `begin_stop`
        self._has_stopped = False
        self._lost_workers: set[int] = set()

    def start(self) -> None:
        """Spawn the processes; returns before the workers are ready."""
        if self._processes:
            raise DefectError("this load was started before")
        self._out.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        for kind in ("plan", "ready", "rows", "watch", "end", "lost", "go", "master"):
            for path in self._out.glob(f"{kind}*.json*"):
                path.unlink()  # of an earlier load in the same place
        for plan in self._plans:
            plan.path.write_text(plan.model_dump_json())
        if len(self._plans) == 1 and self._listen is None:
            only = self._plans[0]
            users = ["--headless", "--users", "1", "--spawn-rate", "1", "--only-summary"]
            self._spawn(_name_of(only), users, {PLAN_VARIABLE: str(only.path)})
            return
        host, port = self._listen or ("127.0.0.1", 0)
        self.port = port or _free_port(host)
        self._start_master(host, self.port)
        if self._listen is None:
            master = ["--worker", "--master-host", host, "--master-port", str(self.port)]
            for plan in self._plans:
                orders = {PARENT_VARIABLE: str(os.getpid()), SHARE_VARIABLE: str(plan.worker)}
                self._spawn(_name_of(plan), master, orders)

    def _start_master(self, host: str, port: int) -> None:
        plan = MasterPlan(workers=len(self._plans), out=self._out, parent_pid=os.getpid())
        path = self._out / "master-plan.json"
        path.write_text(plan.model_dump_json())
        count = str(plan.workers)
        options = ["--master", "--master-bind-host", host, "--master-bind-port", str(port)]
        options += ["--expect-workers", count, "--users", count, "--spawn-rate", count]
        options += ["--headless", "--only-summary"]
        self._spawn("locust-master", options, {MASTER_VARIABLE: str(path)})

    def _spawn(self, name: str, options: list[str], orders: dict[str, str]) -> None:
        # Locust reads LOCUST_* as options; a stray one would change the load.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
        with self._log_path(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *options],
                cwd=self._out,  # Locust reads locust.conf and pyproject.toml from here
                env=environment | orders,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is the supervisor's to handle
            )

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every worker has its trace, its connections, and waits for the start.

        Raises:
            InvalidRunError: one ended or was not ready in time; says what it last said.
        """
        until_s = time.monotonic() + timeout_s
        for plan in self._plans:
            what, name = f"load worker {plan.worker}", _name_of(plan)
            if name not in self._processes:  # on another machine: the master knows
                name = "locust-master"
            self._wait(what, name, plan.ready_path.exists, until_s, timeout_s)

    def _wait(
        self, what: str, name: str, ready: Callable[[], bool], until_s: float, timeout_s: float
    ) -> None:
        while not ready():
            why = self._first_loss()
            ended = next((n for n, p in self._processes.items() if p.poll() is not None), None)
            if ended is not None:
                code, said = self._processes[ended].returncode, self._last_words(ended)
                raise InvalidRunError(
                    f"{ended} ended with code {code} before {what} was ready; it last said: {said}"
                )
            if why:
                raise InvalidRunError(f"{why} before {what} was ready")
            if time.monotonic() > until_s:
                raise InvalidRunError(
                    f"{what} was not ready within {timeout_s:g} s; {name} last said: "
                    f"{self._last_words(name)}"
                )
            time.sleep(_POLL_S)

    def _first_loss(self) -> str:
        """Return which worker the master lost and why; "" while it lost none."""
        for plan in self._plans:
            if plan.lost_path.exists():
                why = orjson.loads(plan.lost_path.read_bytes())["why"]
                return f"load worker {plan.worker} was lost ({why})"
        return ""

    def go(self, t0_unix_s: float) -> None:
        """Tell the workers the moment that all times count from; best a second ahead."""
        self._t0_s = time.monotonic() + t0_unix_s - time.time()
        draft = self._out / "go.json.new"
        draft.write_bytes(orjson.dumps({"t0_unix_s": t0_unix_s}))
        draft.replace(self._plans[0].go_path)  # a worker never sees half a file

    def poll(self) -> list[dict[str, Any]]:
        """Return the rows finished since the last call: `REQUEST_SCHEMA`, None for NaN."""
        return list(itertools.chain.from_iterable(tail.read() for tail in self._tails))

    def alive(self) -> bool:
        """Tell whether every worker is running."""
        running = [process.poll() is None for process in self._processes.values()]
        return bool(running) and all(running) and not self._first_loss()

    def begin_stop(self) -> None:
        """Tell the workers to write what is open and to end; returns at once. Idempotent."""
        if self._stopped_s is not None:
            return
        self._stopped_s = time.monotonic()
        for plan in self._plans:
            has_ended = self._has_ended(_name_of(plan))
            if has_ended or plan.lost_path.exists():
                self._lost_workers.add(plan.worker)
            if has_ended and not plan.lost_path.exists():
                with contextlib.suppress(OSError):  # the master waits for its last rows, then
                    plan.lost_path.write_text('{"why": "its process ended early"}')
        running = {name: p for name, p in self._processes.items() if p.poll() is None}
        master = running.get("locust-master")  # it stops the workers and takes their last rows
        self._told = [master] if master is not None else list(running.values())
        for process in self._told:
            process.send_signal(signal.SIGTERM)

    def stop(self, grace_s: float) -> None:
        """End the workers: they write what is open, and after `grace_s` they are killed."""
        if self._has_stopped:
            return
        self._has_stopped = True
        until_s = time.monotonic() + grace_s
        self.begin_stop()
        _await(self._told, until_s)
        running = [process for process in self._processes.values() if process.poll() is None]
        for process in running:
            if process not in self._told:
                process.send_signal(signal.SIGTERM)
        _await(running, until_s)
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait(_KILL_WAIT_S)
        if self._processes:
            said_nothing = {plan.worker for plan in self._plans if not plan.end_path.exists()}
            self._lost_workers |= said_nothing

    def _has_ended(self, name: str) -> bool:
        process = self._processes.get(name)
        return process is not None and process.poll() is not None

    def collect(self, requests: Path, end_s: float) -> LoadSummary:
        """Write `requests.parquet` and return what the load says about itself.

        Args:
            requests: the file to write.
            end_s: the run's end; later requests are left out, and so are those that came due
                after `stop` was called.

        Raises:
            DefectError: the load is still running.
        """
        if not self._has_stopped or self._stopped_s is None:
            raise DefectError("stop the load before collecting its rows")
        # A load that never began made nothing come due.
        end_s = 0.0 if self._t0_s is None else min(end_s, self._stopped_s - self._t0_s)
        lost = len(self._lost_workers)
        return collect_rows(self._trace, self._out, requests, end_s, workers_lost=lost)

    def last_words(self) -> str:
        """Return what the process that ended first last said, and which it is."""
        ended = (name for name in self._processes if self._has_ended(name))
        return next((f"{name}: {self._last_words(name)}" for name in ended), self._first_loss())

    def _log_path(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _last_words(self, name: str) -> str:
        try:
            text = self._log_path(name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else "nothing"


def _free_port(host: str) -> int:
    """Return a port that nobody has now; should somebody take it first, the master says so."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _name_of(plan: WorkerPlan) -> str:
    return f"locust-{plan.worker}"


def _await(processes: list[subprocess.Popen[bytes]], until_s: float) -> None:
    """Wait for processes to end, until a moment of the monotonic clock."""
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until_s - time.monotonic()))
