"""A fault-free run: a load that is played to its last answer, and the manifest of its record.

Trials of a gate and settings of a sweep are such runs. Which answers are the last ones they say
themselves, and what becomes of the record.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from faultload import __version__
from faultload.errors import InvalidRunError
from faultload.load import LoadGenerator
from faultload.measure import Collector
from faultload.record import LoadSummary, Manifest, Outcome, Phase, PhaseName, RunDirectory
from faultload.record.manifest import Clock
from faultload.run.events import RunClock
from faultload.run.live import LiveRows
from faultload.run.progress import Progress
from faultload.spec import SLO, Scenario
from faultload.spec.target import LoadWorkers

_READY_TIMEOUT_S = 60.0
_LEAD_S = 0.5
_STOP_GRACE_S = 5.0
_TICK_S = 0.1
_REPORTED = ("locust", "numpy", "pandas", "pyarrow", "scipy")


@dataclass(frozen=True)
class Played:
    """What a load came to.

    Attributes:
        load: what the client says of itself.
        clock: its start.
        drift_s: how far the wall clock moved against the monotonic one until its end.
        collector: has its series so far; None: nobody collects any.
    """

    load: LoadSummary
    clock: RunClock
    drift_s: float = 0.0
    collector: Collector | None = None


@dataclass(frozen=True)
class FaultFreeRun:
    """One such run.

    Attributes:
        directory: of its record.
        title, target, scenario, slos, seed, repeat: as its manifest names them.
        trace: file of what is asked.
        url: where requests go.
        workers: where they come from.
        ca: PEM file of the authorities that these trust; None: the system's.
        warmup_s: load that is dropped.
        end_s: of what is measured, since the start.
    """

    directory: RunDirectory
    title: str
    target: str
    scenario: Scenario
    slos: Sequence[SLO]
    seed: int
    repeat: str
    trace: Path
    url: str
    workers: LoadWorkers
    ca: Path | None
    warmup_s: float
    end_s: float

    @property
    def phases(self) -> list[Phase]:
        """What is dropped, and what is measured."""
        return [
            Phase(name=PhaseName.WARMUP, start_s=0.0, end_s=self.warmup_s),
            Phase(name=PhaseName.BASELINE, start_s=self.warmup_s, end_s=self.end_s),
        ]

    def play(
        self,
        progress: Progress,
        answers: int,
        is_awaited: Callable[[Mapping[str, Any]], bool],
        collecting: Callable[[RunClock], Collector | None] = lambda _: None,
    ) -> Played:
        """Play the trace in Locust processes, and write the request rows into the record.

        Args:
            progress: where to say how far it is.
            answers: the load goes on until so many have come, after `end_s` no longer than a
                client waits for one.
            is_awaited: whether a request row is one of them.
            collecting: begins to collect series, once the load has begun.

        Raises:
            InvalidRunError: the load client did not get ready, or died.
            Interrupted: a signal came; the load is ended first.
        """
        work = self.directory.path / "work"
        load = LoadGenerator(
            self.trace,
            self.scenario,
            self.url,
            work,
            self.directory.logs,
            workers=self.workers.workers,
            api_key_env=self.workers.api_key_env,
            listen=self.workers.listen,
            ca=self.ca,
        )
        live, until_s = LiveRows(self.slos), self.end_s + self.scenario.timeouts.total_s
        with contextlib.ExitStack() as ended, contextlib.ExitStack() as failing:
            ended.callback(shutil.rmtree, work, ignore_errors=True)
            ended.callback(load.stop, 0.0)
            load.start()
            load.wait_ready(_READY_TIMEOUT_S)
            clock = RunClock.starting_in(_LEAD_S)
            load.go(clock.t0_unix_s)
            collector = collecting(clock)
            if collector is not None:
                failing.callback(collector.close)
            while (now_s := clock.now_s()) < self.end_s or (answers > 0 and now_s < until_s):
                time.sleep(_TICK_S)
                rows = load.poll()
                live.add(rows)
                answers -= sum(map(is_awaited, rows))
                progress.tick(max(0.0, self.end_s - now_s), live.stats(now_s))
                if not load.alive():
                    said = load.last_words()
                    raise InvalidRunError(f"the load client died; it last said: {said}")
            load.stop(_STOP_GRACE_S)
            drift_s = clock.wall_drift_s()
            summary = load.collect(self.directory.requests, self.end_s)
            failing.pop_all()
        return Played(summary, clock, drift_s, collector)

    def manifest(self, played: Played | None, problem: str) -> Manifest:
        """Return the record's manifest, as if nothing more were known of the target than its name.

        Args:
            played: None: the load failed, and nothing was measured.
            problem: why nothing is proven; "": something is.
        """
        clock = Clock(t0_unix_s=time.time(), t0_monotonic_s=time.monotonic())
        if played is not None:
            at = played.clock
            clock = Clock(
                t0_unix_s=at.t0_unix_s,
                t0_monotonic_s=at.t0_monotonic_s,
                wall_drift_s=played.drift_s,
            )
        return Manifest(
            run_id=self.directory.run_id,
            experiment="",
            title=self.title,
            scenario=self.scenario.name,
            slos=[slo.name for slo in self.slos],
            target=self.target,
            target_fingerprint="",
            seed=self.seed,
            trace_sha256=hashlib.sha256(self.trace.read_bytes()).hexdigest(),
            repeat=self.repeat,
            faultload_version=__version__,
            versions=dict(versions()),
            commit="",
            clock=clock,
            phases=self.phases if played is not None else [],
            outcome=Outcome.COMPLETED if played is not None else Outcome.STOPPED,
            reason=problem,
            load=played.load if played is not None else None,
        )


@cache
def versions() -> Mapping[str, str]:
    """Return what the numbers were made with."""
    return {"python": platform.python_version(), **{name: version(name) for name in _REPORTED}}
