"""Turning a run into a sealed record: inputs at its start, everything observed at its end."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel

from faultload import __version__
from faultload.errors import FaultloadError
from faultload.measure import Collector, PrometheusReader, catalogue_of
from faultload.record import (
    REQUEST_SCHEMA,
    SERIES_SCHEMA,
    InjectionJournal,
    LoadSummary,
    Manifest,
    Outcome,
    RunDirectory,
    write_table,
)
from faultload.record.manifest import Clock
from faultload.run.events import EventLog, RunClock
from faultload.run.plan import RunPlan
from faultload.run.replay import save_alerts
from faultload.secrecy import redact_files, redacted
from faultload.spec import load_target
from faultload.spec.prices import load_price_book, prices_beside
from faultload.spec.target import TargetSpec
from faultload.targets import Target

_REPORTED = ("chaostoolkit-lib", "locust", "numpy", "pandas", "pyarrow", "scipy")


def save_inputs(plan: RunPlan, directory: RunDirectory) -> None:
    """Copy what the run was given into its record, as it will be used."""
    write_yaml(directory.experiment, plan.experiment.raw)
    write_yaml(directory.scenario, plan.scenario)
    write_yaml(directory.slos, *plan.slos)
    write_yaml(directory.target, plan.target)
    if plan.windows is not None:
        write_yaml(directory.windows, plan.windows)
    write_yaml(directory.prices, *load_price_book(prices_beside(plan.target_path)).plain())


def first_manifest(plan: RunPlan, target: Target, run_id: str, clock: RunClock) -> Manifest:
    """Return the manifest as far as it is known before anything happened."""
    return Manifest(
        run_id=run_id,
        experiment=plan.experiment.name,
        title=plan.experiment.title,
        scenario=plan.scenario.name,
        slos=[slo.name for slo in plan.slos],
        target=target.identity.name,
        target_fingerprint=target.identity.fingerprint,
        seed=plan.seed,
        repeat=plan.repeat,
        faultload_version=__version__,
        versions={
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            **{name: version(name) for name in _REPORTED},
        },
        commit=commit_of(plan.experiment_path.parent),
        clock=Clock(t0_unix_s=clock.t0_unix_s, t0_monotonic_s=clock.t0_monotonic_s),
        phases=[],
        outcome=Outcome.CRASHED,
        reason="the harness died during the run",
        consent=plan.consent.as_json(),
        platform=target.describe(),
    )


def begin_collecting(spec: TargetSpec, target: Target, clock: RunClock) -> Collector | None:
    """Collect the run's series from now on; None: it cannot be known where they are."""
    try:
        collector = _collector(spec, target, clock.t0_unix_s, clock.now_s)
    except FaultloadError:
        return None  # asked again when the record is sealed, and said then
    collector.start()
    return collector


def _collector(
    spec: TargetSpec, target: Target, t0_unix_s: float, now_s: Callable[[], float]
) -> Collector:
    at = target.endpoints
    reader = PrometheusReader(at.prometheus_url, headers=at.prometheus_headers())
    return Collector(reader, catalogue_of(spec), t0_unix_s, now_s, spec.scrape_interval_s)


def seal_run(  # noqa: PLR0913  # everything that goes into a record
    directory: RunDirectory,
    draft: Manifest,
    journal: InjectionJournal,
    collect: Callable[[], LoadSummary] | None,
    target: Target | None,
    end_s: float,
    collector: Collector | None = None,
) -> None:
    """Collect rows, series, events and the journal, replay the alerts, and seal it all.

    Args:
        directory: the run's.
        draft: the manifest but for the load's summary and the hashes.
        journal: the injection journal in the state folder; copied.
        collect: writes the request rows of a load that has ended and sums it up; None: no load
            was started, the table is empty.
        target: None: it is gone, nothing can be asked of it any more.
        end_s: the run's end.
        collector: what collected series so far; None: they are all to be read now.
    """
    events = EventLog(directory.events)
    update: dict[str, object] = {}
    if collect is not None:
        update["load"] = collect()
    else:
        write_table(pd.DataFrame(columns=REQUEST_SCHEMA.names), REQUEST_SCHEMA, directory.requests)
    series = pd.DataFrame(columns=SERIES_SCHEMA.names)
    if target is not None:
        try:
            if collector is None:
                spec = load_target(directory.target)
                collector = _collector(spec, target, draft.clock.t0_unix_s, lambda: end_s)
            series = _collected(collector, end_s, events)
        except FaultloadError as error:
            events.add(end_s, "harness", "telemetry_missing", str(error))
        try:
            target.save_logs(directory.logs / "platform")
        except (OSError, FaultloadError) as error:
            events.add(end_s, "harness", "platform_logs_missing", str(error))
        _note_platform_events(target, events, draft.clock.t0_unix_s, end_s)
    shown = {labels: redacted(labels) for labels in series["labels"].unique()}
    write_table(series.assign(labels=series["labels"].map(shown)), SERIES_SCHEMA, directory.series)
    save_alerts(directory, draft, series)
    if journal.path.exists():
        journal.copy_redacted(directory.injections.path)
    else:
        directory.injections.path.touch()
    redact_files(directory.logs)
    directory.seal(draft.model_copy(update=update))


def _collected(collector: Collector, end_s: float, events: EventLog) -> pd.DataFrame:
    series = collector.finish(end_s)
    for warning in collector.warnings:
        events.add(end_s, "harness", "telemetry_warning", warning)
    if series.empty:
        last = collector.warnings[-1] if collector.warnings else "Prometheus has no series of ours"
        events.add(end_s, "harness", "telemetry_missing", last)
    return series


def _note_platform_events(target: Target, events: EventLog, t0_unix_s: float, end_s: float) -> None:
    try:
        seen = target.events()
    except FaultloadError as error:
        events.add(end_s, "harness", "platform_events_missing", str(error))
        return
    for event in seen:
        t_s = event.time_unix_s - t0_unix_s
        text = f"{event.subject}: {event.message}"
        events.add(t_s, "platform", event.reason, text, subject=event.subject)


def write_yaml(path: Path, *documents: BaseModel | dict[str, Any]) -> None:
    """Write documents as they were used, with every default in them."""
    plain = [
        one.model_dump(mode="json", by_alias=True) if isinstance(one, BaseModel) else one
        for one in documents
    ]
    text = yaml.safe_dump_all(plain, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def commit_of(folder: Path) -> str:
    """Return the commit of the project in a folder, as the manifest has it."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words],
                capture_output=True,
                text=True,
                timeout=5,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if not commit:
        return ""
    return commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
