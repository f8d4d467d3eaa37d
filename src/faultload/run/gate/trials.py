"""One trial: a trace played against one side, with no fault; its rows, and whether they count."""

from __future__ import annotations

import hashlib
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from faultload import __version__
from faultload.errors import InvalidRunError, MissingError
from faultload.load import LoadGenerator, read_trace
from faultload.record import (
    LoadSummary,
    Manifest,
    Outcome,
    Phase,
    PhaseName,
    RunDirectory,
    read_requests,
)
from faultload.record.manifest import Clock
from faultload.run.events import RunClock
from faultload.run.gate.plan import GatePlan
from faultload.run.gate.sides import OpenSide, SideSpec, differences, lost_replicas
from faultload.run.judging import client_problems
from faultload.run.live import LiveRows
from faultload.run.progress import Progress
from faultload.secrecy import redact_files

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
        t0_unix_s, t0_monotonic_s: its start.
        drift_s: how far the wall clock moved against the monotonic one.
    """

    load: LoadSummary
    t0_unix_s: float
    t0_monotonic_s: float
    drift_s: float


Play = Callable[[GatePlan, SideSpec, OpenSide, Path, RunDirectory, Progress], Played]
"""Plays a trace against a side and writes the request rows into the trial's record."""


def play(  # noqa: PLR0913  # what a load is made of
    plan: GatePlan,
    spec: SideSpec,
    side: OpenSide,
    trace: Path,
    directory: RunDirectory,
    progress: Progress,
) -> Played:
    """Play a trace in Locust processes, until the last answer to what is measured has come.

    Raises:
        InvalidRunError: the load client did not get ready, or died.
        Interrupted: a signal came; the load is ended first.
    """
    work = directory.path / "work"
    load = LoadGenerator(
        trace,
        plan.scenario,
        side.url,
        work,
        directory.logs,
        workers=spec.load.workers,
        api_key_env=spec.load.api_key_env,
        listen=spec.load.listen,
        ca=spec.ca,
    )
    live = LiveRows(plan.slos)
    try:
        load.start()
        load.wait_ready(_READY_TIMEOUT_S)
        clock = RunClock.starting_in(_LEAD_S)
        load.go(clock.t0_unix_s)
        due = int((read_trace(trace)["due_s"] < plan.end_s).sum())
        until_s = plan.end_s + plan.scenario.timeouts.total_s
        while (now_s := clock.now_s()) < until_s:
            if now_s >= plan.end_s and live.ended_of(plan.end_s) >= due:
                break
            time.sleep(_TICK_S)
            live.add(load.poll())
            progress.tick(max(0.0, plan.end_s - now_s), live.stats(now_s))
            if not load.alive():
                raise InvalidRunError(f"the load client died; it last said: {load.last_words()}")
        load.stop(_STOP_GRACE_S)
        drift_s = clock.wall_drift_s()
        summary = load.collect(directory.requests, plan.end_s)
        return Played(summary, clock.t0_unix_s, clock.t0_monotonic_s, drift_s)
    finally:
        load.stop(0.0)
        shutil.rmtree(work, ignore_errors=True)


def run_trial(  # noqa: PLR0913  # what a trial is made of
    plan: GatePlan,
    spec: SideSpec,
    side: OpenSide,
    trace: Path,
    directory: RunDirectory,
    environment: dict[str, str],
    progress: Progress,
    player: Play = play,
) -> tuple[list[str], str]:
    """Run one trial and seal its record; return why it is invalid, and what the candidate lost.

    A candidate that loses replicas or dies under the load does so to its users: its rows say what
    that cost them, and count. A baseline that does is not what was accepted.

    Args:
        plan: the gate's.
        spec: the side as asked for.
        side: the side as opened.
        trace: file of the trace.
        directory: of the trial, made already.
        environment: what the side was when the gate began; another one makes a trial invalid.
        progress: where to say how far it is.
        player: plays the trace.

    Raises:
        Interrupted: a signal came; nothing is sealed.
    """
    try:
        played = player(plan, spec, side, trace, directory, progress)
    except InvalidRunError as error:
        _seal(plan, spec, trace, directory, None, str(error))
        return [str(error)], ""
    problems = _problems(plan, directory, played)
    changed, lost = _since(environment, side)
    if lost and spec.side == "baseline":
        changed, lost = lost, ""
    if changed:
        problems.append(f"the {spec.side} changed during the gate: {changed}")
    _seal(plan, spec, trace, directory, played, problems[0] if problems else "")
    return problems, lost


def _since(environment: dict[str, str], side: OpenSide) -> tuple[str, str]:
    """Return how the side is another one now, or what of it is lost; empty: it is what it was."""
    try:
        now = side.environment()
    except MissingError as error:
        return "", str(error)
    changed = "; ".join(differences(environment, now))
    return ("", changed) if lost_replicas(environment, now) else (changed, "")


def _problems(plan: GatePlan, directory: RunDirectory, played: Played) -> list[str]:
    """Return what keeps a trial's rows from being believed."""
    requests = read_requests(directory.requests)
    return client_problems(requests, _phases(plan), plan.slos, played.load, played.drift_s)


@cache
def versions() -> Mapping[str, str]:
    """Return what the numbers were made with."""
    return {"python": platform.python_version(), **{name: version(name) for name in _REPORTED}}


def _phases(plan: GatePlan) -> list[Phase]:
    return [
        Phase(name=PhaseName.WARMUP, start_s=0.0, end_s=plan.warmup_s),
        Phase(name=PhaseName.BASELINE, start_s=plan.warmup_s, end_s=plan.end_s),
    ]


def _seal(  # noqa: PLR0913  # what a trial's record says
    plan: GatePlan,
    spec: SideSpec,
    trace: Path,
    directory: RunDirectory,
    played: Played | None,
    problem: str,
) -> None:
    redact_files(directory.logs)
    clock = Clock(t0_unix_s=time.time(), t0_monotonic_s=time.monotonic())
    if played is not None:
        clock = Clock(
            t0_unix_s=played.t0_unix_s,
            t0_monotonic_s=played.t0_monotonic_s,
            wall_drift_s=played.drift_s,
        )
    manifest = Manifest(
        run_id=directory.run_id,
        experiment="",
        title=f"trial of {spec.side} with trace {trace.stem}",
        scenario=plan.scenario.name,
        slos=[slo.name for slo in plan.slos],
        target=spec.name,
        target_fingerprint="",
        seed=plan.seed,
        trace_sha256=hashlib.sha256(trace.read_bytes()).hexdigest(),
        repeat=plan.repeat,
        faultload_version=__version__,
        versions=dict(versions()),
        commit="",
        clock=clock,
        phases=_phases(plan) if played is not None else [],
        outcome=Outcome.COMPLETED if played is not None else Outcome.STOPPED,
        reason=problem,
        load=played.load if played is not None else None,
    )
    directory.seal(manifest)
