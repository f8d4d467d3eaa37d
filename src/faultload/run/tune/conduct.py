"""A sweep from start to end: a platform a setting, all of its seats taken, its record sealed."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel

from faultload import __version__
from faultload.errors import InvalidRunError
from faultload.load import LoadGenerator, make_trace, write_trace
from faultload.measure import CATALOGUE, Collector, PrometheusReader
from faultload.record import InjectionJournal, LoadSummary, Manifest, Outcome, Phase, PhaseName
from faultload.record.directory import RunDirectory, make_folders
from faultload.record.manifest import Clock
from faultload.run.events import RunClock
from faultload.run.gate.trials import versions
from faultload.run.live import LiveRows
from faultload.run.platform import start_own
from faultload.run.progress import Progress
from faultload.run.room import as_invalid, check_room
from faultload.run.sealing import commit_of, seal_run
from faultload.run.signals import SignalGuard
from faultload.run.tune.plan import TunePlan
from faultload.run.tune.reading import read_setting
from faultload.run.tune.telling import new_sweep
from faultload.secrecy import private_files
from faultload.spec import Scenario
from faultload.spec.prices import load_price_book, prices_beside
from faultload.targets import Target

_READY_TIMEOUT_S = 60.0
_LEAD_S = 0.5
_STOP_GRACE_S = 5.0
_TICK_S = 0.1


class Played:
    """What a load came to: what the client says of itself, its clock, and who collects series."""

    def __init__(self, load: LoadSummary, clock: RunClock, collector: Collector | None) -> None:
        """Note how far the wall clock has moved since the start."""
        self.load, self.clock, self.collector = load, clock, collector
        self.drift_s = clock.wall_drift_s()


Open = Callable[[TunePlan, int], Target]
"""Starts the platform with this batch limit."""
Play = Callable[[TunePlan, Scenario, Path, Target, RunDirectory, Progress], Played]
"""Plays a trace against it and writes the request rows into the record."""


def open_platform(plan: TunePlan, size: int) -> Target:
    """Start the local platform with this batch limit.

    Raises:
        MissingError: it did not start.
        UsageError: its configuration has no such tier.
    """
    overrides = [*plan.overrides, f"{plan.key}={size}"]
    return start_own(plan.catalogue, str(plan.target_path), overrides)


def play(  # noqa: PLR0913  # what a load is made of
    plan: TunePlan,
    scenario: Scenario,
    trace: Path,
    target: Target,
    directory: RunDirectory,
    progress: Progress,
) -> Played:
    """Play a closed loop in Locust processes until every user has their last answer.

    Raises:
        InvalidRunError: the load client did not get ready, or died.
        Interrupted: a signal came; the load is ended first.
    """
    work, users = directory.path / "work", scenario.arrivals.steps[0].users  # type: ignore[union-attr]
    at = target.endpoints
    load = LoadGenerator(
        trace,
        scenario,
        at.inference_url,
        work,
        directory.logs,
        workers=plan.load.workers,
        api_key_env=plan.load.api_key_env,
        listen=plan.load.listen,
        ca=plan.ca,
    )
    live, left = LiveRows(plan.slos), users
    with contextlib.ExitStack() as failing:
        failing.callback(shutil.rmtree, work, ignore_errors=True)
        failing.callback(load.stop, 0.0)
        load.start()
        load.wait_ready(_READY_TIMEOUT_S)
        clock = RunClock.starting_in(_LEAD_S)
        load.go(clock.t0_unix_s)
        reader = PrometheusReader(at.prometheus_url, headers=at.prometheus_headers())
        interval_s = plan.target.scrape_interval_s
        collector = Collector(reader, CATALOGUE, clock.t0_unix_s, clock.now_s, interval_s)
        failing.callback(collector.close)
        collector.start()
        until_s = plan.end_s + scenario.timeouts.total_s
        # Nobody thinks, so that each user has one request open at the end, and no more after it.
        while (now_s := clock.now_s()) < plan.end_s or (left > 0 and now_s < until_s):
            time.sleep(_TICK_S)
            rows = load.poll()
            live.add(rows)
            left -= sum(row["end_s"] >= plan.end_s for row in rows)
            progress.tick(max(0.0, plan.end_s - now_s), live.stats(now_s))
            if not load.alive():
                raise InvalidRunError(f"the load client died; it last said: {load.last_words()}")
        load.stop(_STOP_GRACE_S)
        played = Played(load.collect(directory.requests, plan.end_s), clock, collector)
        failing.pop_all()
    shutil.rmtree(work, ignore_errors=True)
    return played


class Sweep:
    """One sweep in progress.

    Attributes:
        path: its directory; the record of each setting is below it, in `runs`.
    """

    def __init__(
        self, plan: TunePlan, progress: Progress, opening: Open = open_platform, player: Play = play
    ) -> None:
        """Start nothing yet; `opening` and `player` are other ones in tests."""
        self._plan, self._progress = plan, progress
        self._open, self._play = opening, player
        self._done: list[tuple[int, RunDirectory]] = []
        self.path = new_sweep(plan.reports)

    def run(self, signals: SignalGuard | None = None) -> list[tuple[int, RunDirectory]]:
        """Run it; return batch limit and record of each setting, in the order of their runs.

        However it ends, no process is left. Records of settings that were measured before that stay
        where they are, and can be given with `--runs`; a sweep without any leaves nothing.

        Raises:
            FaultloadError: a platform did not start, or the client's machine refused.
            Interrupted: a signal came.
        """
        signals = signals or SignalGuard()
        check_room(self._plan.reports)
        with signals.installed(), private_files():
            make_folders("sweep", self.path, self.path / "runs")
            try:
                with signals.listening():
                    for size in self._plan.sizes:
                        self._measure(size)
            except BaseException as problem:
                if not self._done:
                    shutil.rmtree(self.path, ignore_errors=True)
                else:
                    self._progress.note(
                        f"{len(self._done)} of {len(self._plan.sizes)} settings were measured; what"
                        f" they say: faultload tune batch --runs {self.path}"
                    )
                if (error := as_invalid(problem)) is problem:
                    raise
                raise error from None
        return self._done

    def _measure(self, size: int) -> None:
        """Measure one setting, and once more if its rows are not believed; both are kept."""
        directory = self._one(size)
        if problems := read_setting(directory, size).problems:
            self._progress.note(f"batch {size} is measured again: {problems[0]}")
            directory = self._one(size)
        self._done.append((size, directory))

    def _one(self, size: int) -> RunDirectory:
        """Measure one setting; a load that fails makes it a setting with a problem."""
        plan, number = self._plan, len(list((self.path / "runs").iterdir())) + 1
        directory = RunDirectory.create(self.path / "runs", f"{number:02d}-batch-{size}")
        try:
            self._progress.note(f"batch {size}: the platform starts")
            with contextlib.closing(self._open(plan, size)) as target:
                scenario = plan.workload(size * self._replicas(target, size))
                trace = directory.record / "trace.parquet"
                write_trace(make_trace(scenario, plan.end_s, plan.seed), trace)
                self._save_inputs(directory, scenario)
                self._progress.phase(f"batch {size}", plan.end_s)
                try:
                    played = self._play(plan, scenario, trace, target, directory, self._progress)
                except InvalidRunError as error:
                    self._seal(directory, size, target, None, str(error))
                else:
                    self._seal(directory, size, target, played, "")
        except BaseException:
            shutil.rmtree(directory.path, ignore_errors=True)
            raise
        return directory

    def _replicas(self, target: Target, size: int) -> int:
        """Return how many engines there are; the platform says that each has the batch limit.

        Raises:
            InvalidRunError: it says something else.
        """
        tier = (
            (target.describe().get("config") or {}).get("tiers", {}).get(self._plan.tier.tier, {})
        )
        found, model = tier.get("engine", {}).get("max_num_seqs"), tier.get("model")
        if found != size or model != self._plan.tier.model:
            raise InvalidRunError(
                f"the platform has {model!r} with {self._plan.key}={found!r}, and"
                f" {self._plan.tier.model!r} with {size} was asked for"
            )
        return int(tier["replicas"])

    def _save_inputs(self, directory: RunDirectory, scenario: Scenario) -> None:
        plan = self._plan
        book = load_price_book(prices_beside(plan.target_path))
        for path, documents in (
            (directory.scenario, _plain(scenario)),
            (directory.slos, _plain(*plan.slos)),
            (directory.target, _plain(plan.target)),
            (directory.prices, book.plain()),
        ):
            text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
            path.write_text(text, encoding="utf-8")

    def _seal(
        self,
        directory: RunDirectory,
        size: int,
        target: Target,
        played: Played | None,
        problem: str,
    ) -> None:
        plan = self._plan
        clock = Clock(t0_unix_s=time.time(), t0_monotonic_s=time.monotonic())
        if played is not None:
            at, drift_s = played.clock, played.drift_s
            clock = Clock(
                t0_unix_s=at.t0_unix_s, t0_monotonic_s=at.t0_monotonic_s, wall_drift_s=drift_s
            )
        phases = [
            Phase(name=PhaseName.WARMUP, start_s=0.0, end_s=plan.warmup_s),
            Phase(name=PhaseName.BASELINE, start_s=plan.warmup_s, end_s=plan.end_s),
        ]
        trace = directory.record / "trace.parquet"
        draft = Manifest(
            run_id=directory.run_id,
            experiment="",
            title=f"{plan.tier.model} with batches of {size}",
            scenario=plan.scenario.name,
            slos=[slo.name for slo in plan.slos],
            target=target.identity.name,
            target_fingerprint=target.identity.fingerprint,
            seed=plan.seed,
            trace_sha256=hashlib.sha256(trace.read_bytes()).hexdigest(),
            repeat=plan.repeat,
            faultload_version=__version__,
            versions=dict(versions()),
            commit=commit_of(plan.catalogue.root),
            clock=clock,
            phases=phases if played is not None else [],
            outcome=Outcome.COMPLETED if played is not None else Outcome.STOPPED,
            reason=problem,
            platform=target.describe(),
        )
        collect = (lambda: played.load) if played is not None else None
        nothing = InjectionJournal(directory.path / "no-injections.jsonl")
        collector = played.collector if played is not None else None
        end_s = plan.end_s if played is not None else 0.0
        seal_run(directory, draft, nothing, collect, target, end_s, collector)


def _plain(*models: BaseModel) -> Sequence[dict[str, object]]:
    return [model.model_dump(mode="json", by_alias=True) for model in models]
