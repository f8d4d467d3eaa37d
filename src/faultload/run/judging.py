"""Steps 8 and 9 on any sealed record: read it, judge it, report it. No cluster in sight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import orjson
import pandas as pd

from faultload.judge import Evidence, Judgement, ReplicaCounts
from faultload.judge.explain import Explanation, explain
from faultload.judge.judge import judge
from faultload.judge.validity import check_clock, check_load, check_rows
from faultload.measure.catalogue import CATALOGUE, REPLICAS, USABLE
from faultload.measure.counters import counted_events
from faultload.measure.coverage import coverage
from faultload.measure.fleet import read_fleet
from faultload.record import (
    JUDGED_COLUMNS,
    LoadSummary,
    Manifest,
    Outcome,
    Phase,
    PhaseName,
    RunDirectory,
    read_alerts,
    read_requests,
    read_series,
)
from faultload.record.history import AcceptedRun, ratios_of, read_history
from faultload.report import write_reports
from faultload.run.events import read_events
from faultload.spec import SLO, load_experiment, load_slos, load_target
from faultload.spec.experiment import Expects
from faultload.spec.prices import PriceBook, read_price_book
from faultload.spec.target import KubernetesTargetSpec


@dataclass(frozen=True)
class Judged:
    """A stored run with its judgement.

    Attributes:
        manifest: the run's.
        slos: what it was judged against.
        requests: its request rows.
        series: its Prometheus samples.
        judgement: the verdict and everything it rests on.
        evidence: what was judged.
    """

    manifest: Manifest
    slos: Sequence[SLO]
    requests: pd.DataFrame
    series: pd.DataFrame
    judgement: Judgement
    evidence: Evidence


def judge_stored(
    directory: RunDirectory,
    slos: Path | None = None,
    runs: Sequence[AcceptedRun] | None = None,
) -> Judged:
    """Judge a sealed record.

    Args:
        directory: the run's.
        slos: an SLO file; None: the run's own.
        runs: earlier, accepted ones to hold it beside; None: those in its record, if any.

    Raises:
        SpecError: a file is missing or damaged, or was changed since the record was sealed.
    """
    manifest = directory.manifest()
    directory.check_sealed()
    requests = read_requests(directory.requests, JUDGED_COLUMNS)
    series = read_series(directory.series)
    objectives = load_slos(slos or directory.slos)
    evidence = _evidence(directory, manifest, objectives, requests, series)
    if runs is None:
        given = read_history(directory.history)
        runs = given.runs if given else ()
    evidence = replace(evidence, history=ratios_of(runs, objectives))
    return Judged(manifest, objectives, requests, series, judge(evidence), evidence)


def explain_stored(
    directory: RunDirectory,
    slos: Path | None = None,
    runs: Sequence[AcceptedRun] | None = None,
) -> Explanation:
    """Say what the verdict on a sealed record rests on; arguments as in `judge_stored`."""
    judged = judge_stored(directory, slos, runs)
    return explain(judged.evidence, judged.judgement, judged.series)


def judge_and_report(
    directory: RunDirectory,
    slos: Path | None = None,
    runs: Sequence[AcceptedRun] | None = None,
) -> tuple[Judgement, list[Path]]:
    """Judge a sealed record and write its reports beside it; arguments as in `judge_stored`."""
    judged = judge_stored(directory, slos, runs)
    reports = write_reports(
        run=directory,
        manifest=judged.manifest,
        experiment=load_experiment(directory.experiment),
        slos=judged.slos,
        judgement=judged.judgement,
        requests=judged.requests,
        series=judged.series,
        events=read_events(directory.events),
    )
    return judged.judgement, reports


def _evidence(
    directory: RunDirectory,
    manifest: Manifest,
    slos: Sequence[SLO],
    requests: pd.DataFrame,
    series: pd.DataFrame,
) -> Evidence:
    block = load_experiment(directory.experiment).block
    target = load_target(directory.target)
    scrape_interval_s = target.scrape_interval_s
    shared = isinstance(target, KubernetesTargetSpec) and target.kubernetes.shared_nodes
    prices, t0_unix_s = read_price_book(directory.prices), manifest.clock.t0_unix_s
    gpus_of = (prices or PriceBook(())).gpus
    fleet = read_fleet(
        series, manifest.phases, t0_unix_s, scrape_interval_s, gpus_of, shared=shared
    )
    return Evidence(
        requests=requests,
        phases=manifest.phases,
        injections=directory.injections.entries(),
        t0_unix_s=t0_unix_s,
        slos=slos,
        expects=block.expects,
        gaps=declared_gaps(block.gaps),
        outcome=manifest.outcome,
        reason=manifest.reason,
        aborted_by_person=manifest.outcome is Outcome.INTERRUPTED,
        steady_state_met=manifest.steady_state_met,
        load=manifest.load,
        clock_drift_s=manifest.clock.wall_drift_s,
        coverage=_coverage(manifest, series, scrape_interval_s),
        counted=_counted(manifest, slos, series),
        replicas=_replicas(series),
        scrape_interval_s=scrape_interval_s,
        alerts=read_alerts(directory.alerts),
        fleet=fleet,
        prices=prices,
        time_scale=time_scale_of(manifest),
        usable=_usable(series),
    )


def client_problems(
    requests: pd.DataFrame,
    phases: Sequence[Phase],
    slos: Sequence[SLO],
    load: LoadSummary | None,
    drift_s: float,
) -> list[str]:
    """Return what keeps request rows from being believed: a run's checks that need no fault.

    Args:
        requests: the rows.
        phases: of the run.
        slos: that they are for.
        load: what the client says of itself; None: it was not measured.
        drift_s: how far the wall clock moved against the monotonic one.
    """
    evidence = Evidence(
        requests=requests,
        phases=phases,
        injections=[],
        t0_unix_s=0.0,
        slos=slos,
        expects=Expects(),
        gaps=[],
        outcome=Outcome.COMPLETED,
        reason="",
        aborted_by_person=False,
        steady_state_met=None,
        load=load,
        clock_drift_s=drift_s,
        coverage={},
        counted={},
    )
    checks = (check_load, check_clock, check_rows)
    return [finding.text for check in checks for finding in check(evidence)]


def time_scale_of(manifest: Manifest) -> float:
    """Return by how much the platform shortens starting and waiting; 1 where it does not say."""
    said = (manifest.platform.get("config") or {}).get("time_scale", 1.0)
    return float(said) if isinstance(said, int | float) and said > 0 else 1.0


def declared_gaps(declared: Sequence[str]) -> list[str]:
    """Return the series that an experiment's patterns name; `*` names all."""
    named = {entry.name for entry in CATALOGUE for one in declared if fnmatchcase(entry.name, one)}
    return sorted(named | set(declared))


def _coverage(
    manifest: Manifest, series: pd.DataFrame, scrape_interval_s: float
) -> Mapping[str, float]:
    if not manifest.phases:
        return {}
    span = (manifest.phases[0].start_s, manifest.phases[-1].end_s)
    return coverage(series, CATALOGUE, span, scrape_interval_s)


def _counted(
    manifest: Manifest, slos: Sequence[SLO], series: pd.DataFrame
) -> dict[tuple[str, PhaseName], tuple[float, float] | None]:
    return {
        (slo.name, phase.name): counted_events(series, slo, phase)
        for slo in slos
        if slo.source.type == "prometheus"
        for phase in manifest.phases
    }


def _replicas(series: pd.DataFrame) -> dict[str, ReplicaCounts]:
    """Return the sizes that Prometheus saw, by Deployment, with its namespace where it has one."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name in REPLICAS:
        for labels, samples in series[series["series"] == name].groupby("labels"):
            about = orjson.loads(str(labels))
            deployment = f"{about.get('namespace', '')}/{about.get('deployment', '')}"
            pairs = zip(samples["t_s"].tolist(), samples["value"].tolist(), strict=True)
            found.setdefault(deployment, {}).setdefault(name, []).extend(pairs)
    wanted, ready = REPLICAS
    return {
        deployment: ReplicaCounts(sorted(own.get(wanted, [])), sorted(own.get(ready, [])))
        for deployment, own in found.items()
    }


def _usable(series: pd.DataFrame) -> dict[str, list[tuple[float, float]]]:
    """Return how many replicas each router would use, over time."""
    found: dict[str, dict[float, float]] = {}
    for labels, samples in series[series["series"] == USABLE].groupby("labels"):
        router = str(orjson.loads(str(labels)).get("instance", ""))
        counts = found.setdefault(router, {})
        for t_s, value in zip(samples["t_s"].tolist(), samples["value"].tolist(), strict=True):
            counts[t_s] = counts.get(t_s, 0.0) + value
    return {router: sorted(counts.items()) for router, counts in found.items()}
