"""`faultload run`: a game day of one or more experiments, shown while it goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from faultload.cli.output import echo_json, echo_lines, relative, say, worst_code
from faultload.errors import ExitCode, SkippedError, UsageError
from faultload.report import render_summary
from faultload.run.dry import dry_run
from faultload.run.flow import run_experiment
from faultload.run.plan import RunPlan, prepare
from faultload.run.platform import attach_or_start
from faultload.run.progress import Silent, make_progress
from faultload.run.signals import SignalGuard
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
    load: Mapping[str, str | int],
    *,
    as_json: bool,
) -> int:
    """Run the steps of a plan on one platform; return the exit code that counts.

    Every file is read before anything starts. A refusal or a signal ends the day, as does a verdict
    of the plan's `stop_on`.
    """
    steps = [
        (
            step,
            prepare(catalogue, step.experiment, day.target, seed=seed, reports=reports, load=load),
        )
        for step in day.steps
    ]
    started_s, signals, codes = time.monotonic(), SignalGuard(), list[int]()
    with signals.installed():
        with signals.listening():
            platform = attach_or_start(catalogue, day.target, overrides)
        try:
            for index, (step, plan) in enumerate(steps):
                code, verdict = _run_one(plan, platform, signals, as_json=as_json)
                codes.append(code)
                if verdict in day.stop_on or code > ExitCode.MISSING:
                    break
                if index + 1 < len(steps):
                    with signals.listening():
                        time.sleep(step.cooldown_s)
        finally:
            platform.close()
    if not as_json:
        say(f"took {time.monotonic() - started_s:.0f} s")
    return worst_code(codes)


def dry_run_all(
    catalogue: Catalogue,
    day: GameDay,
    seed: int | None,
    overrides: list[str],
    load: Mapping[str, str | int],
    *,
    as_json: bool,
) -> int:
    """Say what each step of a plan would do now; return 0, or the code of the worst problem.

    A local platform is started for it, or the one left up is asked; nothing is locked or changed.
    """
    plans = [
        prepare(catalogue, step.experiment, day.target, seed=seed, load=load) for step in day.steps
    ]
    signals = SignalGuard()
    with signals.installed(), signals.listening():
        platform = attach_or_start(catalogue, day.target, overrides)
        try:
            found = [dry_run(plan, platform) for plan in plans]
        finally:
            platform.close()
    if as_json:
        echo_json([asdict(one) for one in found])
    else:
        echo_lines([line for one in found for line in one.lines()])
    return worst_code([one.exit_code for one in found if one.exit_code] or [int(ExitCode.PASS)])


def _run_one(
    plan: RunPlan, platform: Target, signals: SignalGuard, *, as_json: bool
) -> tuple[int, str]:
    """Run one experiment; return its exit code and verdict, "" for a skip."""
    plain = bool(os.environ.get("CI"))
    progress = Silent() if as_json else make_progress(plain=plain)
    progress.note(f"{plan.experiment.name} on {plan.target.name}: {plan.experiment.title}")
    try:
        result = run_experiment(plan, platform, progress, signals)
    except SkippedError as error:
        if as_json:
            echo_json({"experiment": plan.experiment.name, "skipped": str(error)})
        progress.note(str(error))
        return int(error.exit_code), ""
    finally:
        progress.close()
    if as_json:
        say((result.directory.path / "verdict.json").read_text(encoding="utf-8"))
    else:
        page = relative(result.directory.path / "report.html")
        say(render_summary(result.judgement, result.directory.manifest(), page))
    return result.exit_code, result.judgement.verdict.value
