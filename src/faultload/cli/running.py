"""`faultload run`: a game day of one or more experiments, shown while it goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from faultload.cli.output import relative, worst_code
from faultload.errors import ExitCode, UsageError
from faultload.report import render_summary
from faultload.run.flow import RunResult, run_experiment
from faultload.run.plan import RunPlan, prepare
from faultload.run.platform import attach_or_start
from faultload.run.progress import Silent, make_progress
from faultload.spec import Catalogue, GameDay, load_gameday
from faultload.spec.gameday import GameDayStep
from faultload.targets import Target


def gameday_of(catalogue: Catalogue, names: Sequence[str], target: str) -> GameDay:
    """Return the plan a game day file holds, or one made of the experiments named.

    Raises:
        UsageError: a game day file beside other names.
    """
    paths = [path if (path := Path(name)).exists() else catalogue.root / name for name in names]
    days = [path for path in paths if path.parent.name == "gamedays"]
    if not days:
        steps = [GameDayStep(experiment=name) for name in names]
        return GameDay(name="", target=target, steps=steps, stop_on=())
    if len(names) > 1:
        raise UsageError("expected one game day file alone, or experiments; found both")
    return load_gameday(days[0])


def run_all(
    catalogue: Catalogue,
    day: GameDay,
    seed: int | None,
    reports: Path | None,
    overrides: list[str],
    *,
    as_json: bool,
) -> int:
    """Run the steps of a plan on one platform; return the exit code that counts.

    Every file is read before anything starts. A refusal or a signal ends the day, as does a verdict
    of the plan's `stop_on`.
    """
    steps = [
        (step, prepare(catalogue, step.experiment, day.target, seed=seed, reports=reports))
        for step in day.steps
    ]
    started_s = time.monotonic()
    platform = attach_or_start(catalogue, day.target, overrides)
    codes: list[int] = []
    try:
        for index, (step, plan) in enumerate(steps):
            result = _run_one(plan, platform, as_json=as_json)
            codes.append(result.exit_code)
            stops = result.judgement.verdict.value in day.stop_on
            if stops or result.exit_code >= ExitCode.USAGE:
                break
            if index + 1 < len(steps):
                time.sleep(step.cooldown_s)
    finally:
        platform.close()
    if not as_json:
        typer.echo(f"took {time.monotonic() - started_s:.0f} s")
    return worst_code(codes)


def _run_one(plan: RunPlan, platform: Target, *, as_json: bool) -> RunResult:
    plain = bool(os.environ.get("CI"))
    progress = Silent() if as_json else make_progress(Console(stderr=True), plain=plain)
    progress.note(f"{plan.experiment.name} on {plan.target.name}: {plan.experiment.title}")
    try:
        result = run_experiment(plan, platform, progress)
    finally:
        progress.close()
    if as_json:
        typer.echo((result.directory.path / "verdict.json").read_text(encoding="utf-8"))
    else:
        page = relative(result.directory.path / "report.html")
        typer.echo(render_summary(result.judgement, result.directory.manifest(), page))
    return result
