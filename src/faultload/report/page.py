"""`report.html`: one page that asks nothing of the network and needs no script to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from markupsafe import Markup

from faultload.judge import PhaseResult
from faultload.record import PhaseName
from faultload.report import cost, formats
from faultload.report.evidence import evidence_files, evidence_id
from faultload.report.facts import (
    VERDICT_MEANING,
    Facts,
    claim,
    in_words,
    phase_label,
    recovery_text,
    runs_differ,
)
from faultload.report.frame import Figure, Frame
from faultload.report.hits import pairs
from faultload.report.load_client import (
    WORKER_COLUMNS,
    client_figures,
    loop_meaning,
    loop_name,
    worker_rows,
)
from faultload.report.paging import ALERTS, paging_section
from faultload.report.plots import errors_figure, tiers_of, traffic_figures, ttft_figure
from faultload.report.server_view import panels, ready_figure
from faultload.report.shown import beside
from faultload.report.svg import interval_bar
from faultload.report.templating import html_environment
from faultload.report.views import QUANTILES, view_rows
from faultload.spec.slo import RequestsSource

TIMELINE_MAX = 400
"""Rows shown; a run on a busy cluster may bring thousands, and the file has them all."""

_SHOWN_PHASES = (PhaseName.BASELINE, PhaseName.FAULT, PhaseName.RECOVERY)
_EVIDENCE = {
    "requests": evidence_id("requests.parquet"),
    "injections": evidence_id("injections.jsonl"),
    "manifest": evidence_id("manifest.json"),
    "experiment": evidence_id("experiment.yaml"),
    "slos": evidence_id("slos.yaml"),
    "series": evidence_id("series.parquet"),
    "prices": evidence_id("prices.yaml"),
}


@dataclass(frozen=True)
class KeyFigure:
    """One of the numbers on the first screen: label, value, what it is about, evidence id."""

    label: str
    value: str
    note: str
    evidence: str


@dataclass(frozen=True)
class PhaseRow:
    """One SLO over one phase, as the table shows it."""

    result: PhaseResult
    phase: str
    bar: Markup | None
    interval: str
    quantiles: Sequence[str]


def render_page(facts: Facts) -> str:
    """Return the whole page."""
    frame = Frame.of(facts)
    tiers = tiers_of(facts)
    timeline, platform = facts.timeline(), facts.manifest.platform
    files = resources.files("faultload.report") / "templates"
    return (
        html_environment()
        .get_template("report.html.j2")
        .render(
            facts=facts,
            manifest=facts.manifest,
            judgement=facts.judgement,
            experiment=facts.experiment,
            style=Markup((files / "report.css").read_text(encoding="utf-8")),  # noqa: S704  # ours
            meaning=VERDICT_MEANING[facts.judgement.verdict],
            hero=ttft_figure(frame, "hero", tiers, [0.95]),
            hero_errors=errors_figure(frame, "hero-errors"),
            key_figures=key_figures(facts),
            slo_rows=slo_rows(facts),
            runs_differ=runs_differ(facts.judgement),
            expectations=[(e, *claim(e)) for e in facts.judgement.expectations],
            plots=_plots(frame, tiers),
            panels=panels(frame),
            paging=paging_section(facts.judgement),
            paging_evidence=ALERTS,
            view_rows=view_rows(facts),
            quantiles=QUANTILES,
            recovery_text=recovery_text,
            shown=beside(facts.judgement),
            load=facts.manifest.load,
            loop_meaning=loop_meaning,
            client_figures=client_figures,
            worker_columns=WORKER_COLUMNS,
            worker_rows=worker_rows,
            timeline=timeline[:TIMELINE_MAX],
            timeline_left_out=max(0, len(timeline) - TIMELINE_MAX),
            run_facts=run_facts(facts),
            configuration=pairs({k: v for k, v in platform.items() if isinstance(v, dict)}),
            evidence=evidence_files(facts.manifest),
            evidence_id=evidence_id,
            ids=_EVIDENCE,
            cost=cost,
        )
    )


def key_figures(facts: Facts) -> list[KeyFigure]:
    """Return the blast summary: what was hit, and what it cost users."""
    judgement, requests = facts.judgement, _EVIDENCE["requests"]
    recovery, budget = facts.worst_recovery, facts.worst_budget
    failed = facts.failed_requests
    by = facts.fault_label if facts.hits else "the injection journal is empty"
    figures = [KeyFigure("Hit", facts.blast, by, _EVIDENCE["injections"])]
    if facts.was_harmed:
        worst = f"slowest: {recovery.slo}" if recovery else "no SLO could be followed"
        figures.append(KeyFigure("Recovery", recovery_text(recovery), worst, requests))
        spent = formats.percent_points(budget.budget_percent) if budget else formats.NO_DATA
        of = f"of the period's budget: {budget.slo}" if budget else "no SLO could be followed"
        figures.append(KeyFigure("Error budget", spent, of, requests))
        lost = formats.count(judgement.streams_lost) if judgement.requests else formats.NO_DATA
        figures.append(KeyFigure("Streams lost", lost, "began and did not finish", requests))
    else:
        figures += [
            KeyFigure(label, "not measured", "no fault was in force", _EVIDENCE["injections"])
            for label in ("Recovery", "Error budget", "Streams lost")
        ]
    rows = formats.count(judgement.requests) if judgement.requests else formats.NO_DATA
    share = failed / len(facts.requests) if failed is not None else None
    note = f"{formats.count(failed)} failed ({formats.percent(share)})"
    if facts.open_requests:
        note += f", {formats.count(facts.open_requests)} still open at the end"
    figures.append(
        KeyFigure("Requests", rows, note if failed is not None else "none recorded", requests)
    )
    return figures


def slo_rows(facts: Facts) -> list[tuple[str, str, list[PhaseRow]]]:
    """Return (SLO, statement, its rows) in the order judged; the warm-up is not shown."""
    latency = {
        slo.name
        for slo in facts.slos
        if isinstance(slo.source, RequestsSource) and slo.source.spec.condition.kind == "latency"
    }
    spoken = {slo.name: in_words(slo) for slo in facts.slos}
    by_slo: dict[str, list[PhaseRow]] = {}
    statements: dict[str, str] = {}
    for index, result in enumerate(facts.judgement.phases):
        if result.phase in _SHOWN_PHASES:
            statements[result.slo] = spoken.get(result.slo, result.statement)
            row = _phase_row(result, index, is_latency=result.slo in latency)
            by_slo.setdefault(result.slo, []).append(row)
    return [(slo, statements[slo], rows) for slo, rows in by_slo.items()]


def _phase_row(result: PhaseResult, index: int, *, is_latency: bool) -> PhaseRow:
    has_data = result.events > 0 and result.bad_ratio is not None
    interval = formats.NO_DATA
    if result.interval is not None:
        low, high = result.interval
        interval = f"{formats.percent(low)} to {formats.percent(high)}"
        interval += ", over runs" if result.between_runs else ""
    bar = None
    if has_data and result.bad_ratio is not None:
        text = (
            f"{formats.percent(result.bad_ratio)} bad, 90 % interval {interval},"
            f" budget {formats.percent(result.budget)}"
        )
        bar = interval_bar(f"bar{index}", result.bad_ratio, result.interval, result.budget, text)
    values = (result.value_s_p50, result.value_s_p95, result.value_s_p99)
    quantiles = [_quantile(v, has_data=has_data, is_latency=is_latency) for v in values]
    # The recovered part is what is left of the run once the fault is proven gone.
    phase = "recovered" if result.phase is PhaseName.RECOVERY else phase_label(result.phase)
    return PhaseRow(result, phase, bar, interval, quantiles)


def _quantile(value_s: float | None, *, has_data: bool, is_latency: bool) -> str:
    if not is_latency and value_s is None:
        return "not a latency"
    if not has_data:
        return formats.NO_DATA
    return "∞" if value_s is None else formats.milliseconds(value_s)


def _plots(frame: Frame, tiers: Sequence[str]) -> list[Figure]:
    figures = [ttft_figure(frame, f"ttft{i}", [tier], [0.5, 0.95]) for i, tier in enumerate(tiers)]
    if not figures:
        figures.append(ttft_figure(frame, "ttft", [], [0.5, 0.95]))
    figures += [errors_figure(frame, "errors"), *traffic_figures(frame)]
    ready = ready_figure(frame)
    return [*figures, ready] if ready else figures


def run_facts(facts: Facts) -> list[tuple[str, Mapping[str, str]]]:
    """Return groups of facts about the run itself, for whoever wants to repeat or doubt it."""
    manifest = facts.manifest
    load, drift = manifest.load, manifest.clock.wall_drift_s
    run = {
        "Run": manifest.run_id,
        "Experiment": manifest.experiment,
        "Scenario": manifest.scenario,
        "Load": loop_name(load) if load else "not measured",
        "SLOs": ", ".join(manifest.slos),
        "Started (UTC)": facts.utc(0.0, date=True),
        "Ended": facts.how_it_ended,
        "Steady state before the fault": {True: "met", False: "not met", None: "never judged"}[
            manifest.steady_state_met
        ],
        "Seed": str(manifest.seed),
        "Trace (SHA-256)": manifest.trace_sha256 or "not recorded",
        "Clock drift, wall against monotonic": formats.milliseconds(drift),
    }
    target = {
        "Target": manifest.target,
        "Fingerprint": manifest.target_fingerprint or "not recorded",
        **{formats.heading(key): said for key, said in manifest.consent.items()},
    }
    for key, value in manifest.platform.items():
        if isinstance(value, list):
            names = [str(v.get("name", "")) if isinstance(v, dict) else str(v) for v in value]
            target[formats.heading(key)] = f"{len(value)}: {', '.join(filter(None, names))}"
        elif not isinstance(value, dict):
            target.update({formats.heading(k): text for k, text in pairs({key: value})})
    versions = {
        "faultload": manifest.faultload_version,
        "Commit": manifest.commit or "outside git",
        **manifest.versions,
    }
    groups: list[tuple[str, Mapping[str, str]]] = [("Run", run), ("Target", target)]
    groups.append(("Versions", versions))
    return groups
