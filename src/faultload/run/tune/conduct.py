"""A sweep from start to end: a platform a setting, all of its seats taken, its record sealed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from functools import partial

from faultload.errors import InvalidRunError
from faultload.load import make_trace, write_trace
from faultload.record import InjectionJournal, RunDirectory
from faultload.record.directory import make_folders
from faultload.run.fault_free import FaultFreeRun, Played
from faultload.run.platform import start_own
from faultload.run.progress import Progress
from faultload.run.room import as_invalid, check_room
from faultload.run.sealing import begin_collecting, commit_of, seal_run, write_yaml
from faultload.run.signals import SignalGuard
from faultload.run.tune.plan import TunePlan
from faultload.run.tune.reading import read_setting
from faultload.run.tune.telling import new_sweep
from faultload.secrecy import private_files
from faultload.spec.prices import load_price_book, prices_beside
from faultload.targets import Target

Open = Callable[[TunePlan, int], Target]
"""Starts the platform with this batch limit."""
Play = Callable[[TunePlan, Target, FaultFreeRun, Progress], Played]
"""Plays a setting's trace and writes the request rows into its record; errors as in `play`."""


def open_platform(plan: TunePlan, size: int) -> Target:
    """Start the local platform with this batch limit.

    Raises:
        MissingError: it did not start.
        UsageError: its configuration has no such tier.
    """
    overrides = [*plan.overrides, f"{plan.key}={size}"]
    return start_own(plan.catalogue, str(plan.target_path), overrides)


def play(plan: TunePlan, target: Target, run: FaultFreeRun, progress: Progress) -> Played:
    """Play a closed loop until every user has their last answer.

    Raises:
        InvalidRunError: the load client did not get ready, or died.
        Interrupted: a signal came; the load is ended first.
    """
    users = run.scenario.arrivals.steps[0].users  # type: ignore[union-attr]
    collecting = partial(begin_collecting, plan.target, target)
    # Nobody thinks, so that each user has one request open at the end, and no more after it.
    return run.play(progress, users, lambda row: row["end_s"] >= run.end_s, collecting)


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
                run = self._prepared(directory, target, size)
                self._progress.phase(f"batch {size}", plan.end_s)
                try:
                    played = self._play(plan, target, run, self._progress)
                except InvalidRunError as error:
                    self._seal(run, target, None, str(error))
                else:
                    self._seal(run, target, played, "")
        except BaseException:
            shutil.rmtree(directory.path, ignore_errors=True)
            raise
        return directory

    def _prepared(self, directory: RunDirectory, target: Target, size: int) -> FaultFreeRun:
        """Write what is asked into the record; errors as in `_replicas`."""
        plan = self._plan
        scenario = plan.workload(size * self._replicas(target, size))
        trace = directory.record / "trace.parquet"
        write_trace(make_trace(scenario, plan.end_s, plan.seed), trace)
        write_yaml(directory.scenario, scenario)
        write_yaml(directory.slos, *plan.slos)
        write_yaml(directory.target, plan.target)
        write_yaml(directory.prices, *load_price_book(prices_beside(plan.target_path)).plain())
        return FaultFreeRun(
            directory=directory,
            title=f"{plan.tier.model} with batches of {size}",
            target=target.identity.name,
            scenario=scenario,
            slos=plan.slos,
            seed=plan.seed,
            repeat=plan.repeat,
            trace=trace,
            url=target.endpoints.inference_url,
            workers=plan.load,
            ca=plan.ca,
            warmup_s=plan.warmup_s,
            end_s=plan.end_s,
        )

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

    def _seal(self, run: FaultFreeRun, target: Target, played: Played | None, problem: str) -> None:
        known = {
            "target_fingerprint": target.identity.fingerprint,
            "commit": commit_of(self._plan.catalogue.root),
            "platform": target.describe(),
        }
        draft = run.manifest(played, problem).model_copy(update=known)
        nothing = InjectionJournal(run.directory.path / "no-injections.jsonl")
        if played is None:
            seal_run(run.directory, draft, nothing, None, target, 0.0)
            return
        seal_run(
            run.directory, draft, nothing, lambda: played.load, target, run.end_s, played.collector
        )
