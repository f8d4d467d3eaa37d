"""One trial: a trace played against one side, with no fault; its rows, and whether they count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from faultload.errors import InvalidRunError, MissingError
from faultload.load import read_trace
from faultload.record import RunDirectory, read_requests
from faultload.run.fault_free import FaultFreeRun, Played
from faultload.run.gate.plan import GatePlan
from faultload.run.gate.sides import OpenSide, SideSpec, differences, lost_replicas
from faultload.run.judging import client_problems
from faultload.run.progress import Progress
from faultload.secrecy import redact_files

Play = Callable[[FaultFreeRun, Progress], Played]
"""Plays a trial's trace and writes the request rows into its record; errors as in `play`."""


def play(trial: FaultFreeRun, progress: Progress) -> Played:
    """Play a trial's trace until every answer to what is measured has come.

    Raises:
        InvalidRunError: the load client did not get ready, or died.
        Interrupted: a signal came; the load is ended first.
    """
    due = int((read_trace(trial.trace)["due_s"] < trial.end_s).sum())
    return trial.play(progress, due, lambda row: row["due_s"] < trial.end_s)


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
    trial = FaultFreeRun(
        directory=directory,
        title=f"trial of {spec.side} with trace {trace.stem}",
        target=spec.name,
        scenario=plan.scenario,
        slos=plan.slos,
        seed=plan.seed,
        repeat=plan.repeat,
        trace=trace,
        url=side.url,
        workers=spec.load,
        ca=spec.ca,
        warmup_s=plan.warmup_s,
        end_s=plan.end_s,
    )
    try:
        played = player(trial, progress)
    except InvalidRunError as error:
        _seal(trial, None, str(error))
        return [str(error)], ""
    problems = _problems(trial, played)
    changed, lost = _since(environment, side)
    if lost and spec.side == "baseline":
        changed, lost = lost, ""
    if changed:
        problems.append(f"the {spec.side} changed during the gate: {changed}")
    _seal(trial, played, problems[0] if problems else "")
    return problems, lost


def _since(environment: dict[str, str], side: OpenSide) -> tuple[str, str]:
    """Return how the side is another one now, or what of it is lost; empty: it is what it was."""
    try:
        now = side.environment()
    except MissingError as error:
        return "", str(error)
    changed = "; ".join(differences(environment, now))
    return ("", changed) if lost_replicas(environment, now) else (changed, "")


def _problems(trial: FaultFreeRun, played: Played) -> list[str]:
    """Return what keeps a trial's rows from being believed."""
    requests = read_requests(trial.directory.requests)
    return client_problems(requests, trial.phases, trial.slos, played.load, played.drift_s)


def _seal(trial: FaultFreeRun, played: Played | None, problem: str) -> None:
    redact_files(trial.directory.logs)
    trial.directory.seal(trial.manifest(played, problem))
