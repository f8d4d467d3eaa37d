"""From sealed runs to the reports of a sweep: the last step, live or with no platform in sight."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from faultload.errors import UsageError
from faultload.judge.tune import judge_curve
from faultload.record import RunDirectory
from faultload.record.directory import make_folders
from faultload.report.tune import TuneReport, write_tune_reports
from faultload.run.tune.plan import TunePlan, tier_of
from faultload.run.tune.reading import expand, read_setting
from faultload.spec import load_scenario

_ONE_EACH = (
    "each setting is one run: intervals are of that run, and how runs of a setting differ is not"
    " in them"
)
_ELSEWHERE = (
    "the runs were made elsewhere: a curve is one only where nothing but the setting differs"
    " between them, load included"
)


def new_sweep(reports: Path) -> Path:
    """Return the directory of a new sweep, not made yet."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return reports / f"tune-{stamp}-{uuid.uuid4().hex[:4]}"


def report_sweep(
    plan: TunePlan, folder: Path, done: Sequence[tuple[int, RunDirectory]]
) -> tuple[TuneReport, list[Path]]:
    """Judge the runs of a sweep and write its reports beside them; return both."""
    curve = judge_curve([read_setting(run, size, plan.tier.model) for size, run in done])
    report = TuneReport(
        tune_id=folder.name,
        model=plan.tier.model,
        curve=curve,
        seed=plan.seed,
        repeat=plan.repeat,
        notes=[_ONE_EACH],
    )
    return report, write_tune_reports(report, folder)


def report_runs(
    words: Sequence[str], model: str, slo: Path | None, reports: Path, repeat: str
) -> tuple[TuneReport, list[Path]]:
    """Judge stored runs, as `--runs` names them, and write the reports of the curve they make.

    Raises:
        UsageError: a run is none, or two have the same setting.
    """
    named = expand(words)
    if not named:
        raise UsageError("--runs: expected runs, found none")
    settings = [read_setting(run, size, model, slo) for size, run in named]
    batches = [one.batch for one in settings]
    twice = next((batch for batch in batches if batches.count(batch) > 1), None)
    if twice is not None:
        raise UsageError(f"--runs: expected one run a setting, found two with {twice}")
    first = named[0][1]
    folder = new_sweep(reports)
    make_folders("sweep", folder)
    report = TuneReport(
        tune_id=folder.name,
        model=tier_of(load_scenario(first.scenario), model, first.scenario).model,
        curve=judge_curve(settings),
        seed=None,
        repeat=repeat,
        notes=[_ONE_EACH, _ELSEWHERE],
    )
    return report, write_tune_reports(report, folder)
