"""The demo's numbers are true: against engines of known timing, and streams that can be counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from projects import PATIENCE, make_project

from faultload.record import InjectionStep, RunDirectory, read_live_rows, read_requests

pytestmark = pytest.mark.local

TTFT_S, TPOT_S = {"fast": 0.060, "reasoning": 0.400}, 0.020
"""Within each tier's objective. The slow one is long beside what a busy machine adds."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, dict[str, Any]]:
    """Return one run of replica-loss on engines whose timing is fixed."""
    project = make_project(
        tmp_path_factory.mktemp("known"),
        {"warmup_s": 2, "baseline_s": 10, "hold_s": 4, "recovery_s": 4},
        patience=PATIENCE,
    )
    timing = [
        word
        for tier, ttft_s in TTFT_S.items()
        for word in (
            *("--set", f"tiers.{tier}.engine.fixed_ttft_s={ttft_s}"),
            *("--set", f"tiers.{tier}.engine.fixed_tpot_s={TPOT_S}"),
        )
    ]
    done = project.faultload("run", "engine/replica-loss", *timing, "--set", "cold_start_s=2")
    # A late client makes the run invalid and its tail untrue: neither the median nor who was cut.
    assert project.is_judged(done.returncode), done.stderr + done.stdout
    project.is_clean()
    return RunDirectory.open(project.run_directory()), project.verdict()


def ok_rows(run: RunDirectory) -> pd.DataFrame:
    """Return the baseline's finished requests."""
    phases = {phase.name.value: phase for phase in run.manifest().phases}
    rows = read_requests(run.requests)
    inside = (rows["due_s"] >= 2) & (rows["due_s"] < phases["baseline"].end_s - 2)
    return rows[inside & (rows["status"] == "ok")]


def test_ttft_is_within_5_percent_of_truth(known: tuple[RunDirectory, dict[str, Any]]) -> None:
    """The median time to first token the client reports is the engine's own, within 5 %."""
    rows = ok_rows(known[0])
    rows = rows[rows["tier"] == "reasoning"]

    ttft = (rows["first_token_s"] - rows["due_s"]).median()

    assert ttft == pytest.approx(TTFT_S["reasoning"], rel=0.05)


def test_tpot_is_within_5_percent_of_truth(known: tuple[RunDirectory, dict[str, Any]]) -> None:
    """The median time per output token is the engine's own, within 5 %."""
    rows = ok_rows(known[0])

    gaps = (rows["last_token_s"] - rows["first_token_s"]) / (rows["output_tokens"] - 1)

    assert gaps.median() == pytest.approx(TPOT_S, rel=0.05)


def test_exactly_the_streams_the_kill_cut_are_lost(
    known: tuple[RunDirectory, dict[str, Any]],
) -> None:
    """Lost streams are those the victim was serving at the kill: begun, not finished by then.

    Known timing says which those are without asking the client's own statuses. A stream within
    150 ms of either edge could be on both sides of it.
    """
    run, verdict = known
    rows = read_requests(run.requests)
    entries = run.injections.entries()
    victim = entries[0].plan["victims"][0]["name"]
    t0 = run.manifest().clock.t0_unix_s
    injecting, injected = (
        next(e.time_unix_s - t0 for e in entries if e.step is step)
        for step in (InjectionStep.INJECTING, InjectionStep.INJECTED)
    )
    begins = rows["sent_s"] + rows["tier"].map(TTFT_S).astype(float)
    ends = begins + TPOT_S * (rows["output_tokens_asked"] - 1)
    edge = 0.15
    served_by_victim = rows["served_by"] == victim
    surely_open = served_by_victim & (begins < injecting - edge) & (ends > injected + edge)
    maybe_open = served_by_victim & (begins < injected + edge) & (ends > injecting - edge)
    began = rows["first_token_s"].notna()
    lost = began & ~rows["status"].isin(["ok", "unfinished"])

    assert surely_open.sum() >= 1, "the kill met no stream: the test shows nothing"
    assert set(rows.index[surely_open]) <= set(rows.index[lost])
    assert set(rows.index[lost]) <= set(rows.index[maybe_open])
    assert verdict["judgement"]["streams_lost"] == lost.sum()


def test_platform_counted_the_same_cut_streams(
    known: tuple[RunDirectory, dict[str, Any]],
) -> None:
    """The router's own counter of cut streams, read from Prometheus, agrees with the client."""
    run, verdict = known
    series = pd.read_parquet(run.series)
    cut = series[series["series"] == "inference_router_streams_cut_total"]
    last = cut.sort_values("t_s").groupby("labels")["value"].last().sum()

    assert last == verdict["judgement"]["streams_lost"]


def test_record_is_whole_and_sealed(known: tuple[RunDirectory, dict[str, Any]]) -> None:
    """Every request due has a row, nothing changed since sealing, and no work files are left."""
    run, _ = known
    manifest = run.manifest()

    assert run.tampered() == []
    assert manifest.load is not None
    assert manifest.load.rows == manifest.load.requests_due
    assert not Path(run.path / "work").exists()
    assert read_live_rows(run.path).empty


def test_reports_are_written(known: tuple[RunDirectory, dict[str, Any]]) -> None:
    """A run leaves one page, a postmortem, a verdict for machines and JUnit."""
    run, verdict = known

    names = {"report.html", "postmortem.md", "verdict.json", "junit.xml"}

    assert names <= {path.name for path in run.path.iterdir()}
    assert verdict["reason"]
