"""The door to the load: start the Locust processes, watch their rows, stop them, collect."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from faultload.errors import DefectError, InvalidRunError, MissingError
from faultload.load.plan import PLAN_VARIABLE, Endpoint, WorkerPlan
from faultload.load.rows import collect_rows
from faultload.record import LoadSummary, Tail
from faultload.spec.scenario import Scenario

_LOCUSTFILE = Path(__file__).with_name("worker") / "user.py"
_POLL_S = 0.02
_KILL_WAIT_S = 5.0  # a killed process is gone by then, or the kernel is in trouble


class LoadGenerator:
    """Plays a trace against an endpoint, in Locust processes of its own.

    Call `start`, `wait_ready`, `go`, `poll` as often as you like, `stop`, `collect`. The workers
    end with the thread that called `start` (Linux) and in any case with this process.

    Args:
        trace: Parquet file as `write_trace` makes it.
        scenario: its timeouts and `ignore_eos` are used.
        base_url: `http://HOST[:PORT][/PATH]`.
        out: directory for the workers' files; made if missing.
        logs: directory for Locust's own words; made if missing.
        workers: processes; each takes every n-th request.
        api_key_env: name of the environment variable with the API key; None: none is sent.

    Raises:
        UsageError: the URL is not one we can speak to.
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
    ) -> None:
        """Check what can be checked before anything runs."""
        Endpoint.of(base_url)
        if api_key_env is not None and not os.environ.get(api_key_env):
            raise MissingError(f"the environment variable {api_key_env} (the API key) is not set")
        self._trace = trace.resolve()
        self._logs = logs
        self._plans = [
            WorkerPlan(
                worker=number,
                workers=workers,
                trace=self._trace,
                base_url=base_url,
                timeouts=scenario.timeouts,
                ignore_eos=scenario.ignore_eos,
                out=out.resolve(),
                parent_pid=os.getpid(),
                api_key_env=api_key_env,
            )
            for number in range(workers)
        ]
        self._out = out.resolve()
        self._tails = [Tail(plan.rows_path) for plan in self._plans]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._t0_unix_s: float | None = None
        self._stopped_unix_s: float | None = None
        self._lost = 0

    def start(self) -> None:
        """Spawn the workers; returns before they are ready."""
        if self._processes:
            raise DefectError("this load was started before")
        self._out.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        for plan in self._plans:
            for path in (plan.ready_path, plan.rows_path, plan.watch_path, plan.go_path):
                path.unlink(missing_ok=True)  # of an earlier load in the same place
            path = self._out / f"plan-{plan.worker}.json"
            path.write_text(plan.model_dump_json())
            # Locust reads LOCUST_* as options; a stray one would change the load.
            environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
            environment[PLAN_VARIABLE] = str(path)
            command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless"]
            command += ["--users", "1", "--spawn-rate", "1", "--only-summary"]
            with self._log_path(plan).open("wb") as log:
                process = subprocess.Popen(
                    command,
                    cwd=self._out,  # Locust reads locust.conf and pyproject.toml from here
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a terminal's Ctrl-C is the supervisor's to handle
                )
            self._processes.append(process)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every worker has its trace, its connections, and waits for the start.

        Raises:
            InvalidRunError: one ended or was not ready in time; says what it last said.
        """
        until_s = time.monotonic() + timeout_s
        for plan, process in zip(self._plans, self._processes, strict=True):
            while not plan.ready_path.exists():
                if process.poll() is not None:
                    raise InvalidRunError(
                        f"load worker {plan.worker} ended with code {process.returncode} before it "
                        f"was ready; it last said: {self._last_words(plan)}"
                    )
                if time.monotonic() > until_s:
                    raise InvalidRunError(
                        f"load worker {plan.worker} was not ready within {timeout_s:g} s; "
                        f"it last said: {self._last_words(plan)}"
                    )
                time.sleep(_POLL_S)

    def go(self, t0_unix_s: float) -> None:
        """Tell the workers the moment that all times count from; best a second ahead."""
        self._t0_unix_s = t0_unix_s
        draft = self._out / "go.json.new"
        draft.write_bytes(orjson.dumps({"t0_unix_s": t0_unix_s}))
        draft.replace(self._plans[0].go_path)  # a worker never sees half a file

    def poll(self) -> list[dict[str, Any]]:
        """Return the rows finished since the last call: `REQUEST_SCHEMA`, None for NaN."""
        return list(itertools.chain.from_iterable(tail.read() for tail in self._tails))

    def alive(self) -> bool:
        """Tell whether every worker is running."""
        return bool(self._processes) and all(p.poll() is None for p in self._processes)

    def stop(self, grace_s: float) -> None:
        """End the workers: they write what is open, and after `grace_s` they are killed."""
        if self._stopped_unix_s is not None:
            return
        self._stopped_unix_s = time.time()
        running = [process for process in self._processes if process.poll() is None]
        self._lost = len(self._processes) - len(running)
        for process in running:
            process.send_signal(signal.SIGTERM)
        until_s = time.monotonic() + grace_s
        for process in running:
            try:
                process.wait(max(0.0, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._lost += 1
                process.kill()
                process.wait(_KILL_WAIT_S)

    def collect(self, requests: Path, end_s: float) -> LoadSummary:
        """Write `requests.parquet` and return what the load says about itself.

        Args:
            requests: the file to write.
            end_s: the run's end; later requests are left out, and so are those that came due
                after `stop` was called.

        Raises:
            DefectError: the load is still running.
        """
        if self._stopped_unix_s is None:
            raise DefectError("stop the load before collecting its rows")
        if self._t0_unix_s is None:
            end_s = 0.0  # it never began, so nothing came due
        else:
            end_s = min(end_s, self._stopped_unix_s - self._t0_unix_s)
        return collect_rows(self._trace, self._out, requests, end_s, workers_lost=self._lost)

    def _log_path(self, plan: WorkerPlan) -> Path:
        return self._logs / f"locust-{plan.worker}.log"

    def _last_words(self, plan: WorkerPlan) -> str:
        try:
            text = self._log_path(plan).read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else "nothing"
