"""What a stored run cost: from its files alone, at the prices of its day."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fleets import NodeSeen, PodSeen, fleet_series
from scenes import END, PHASES, T0, rows, steady

from faultload.judge.cost_model import Cost
from faultload.measure.fleet import NOT_RECORDED
from faultload.record import (
    REQUEST_SCHEMA,
    SERIES_SCHEMA,
    Manifest,
    Outcome,
    RunDirectory,
    write_table,
)
from faultload.record.manifest import Clock
from faultload.run.judging import judge_stored
from faultload.run.plan import RunPlan, prepare
from faultload.run.sealing import save_inputs
from faultload.spec import Catalogue

ROOT = Path(__file__).parents[3]
POD = PodSeen("fast-0", busy=lambda at_s: at_s < END / 2)
LISTED = NodeSeen("a", usd_per_h=None, pods=[POD])
"""Its price is only in the price lists: 4.6016 USD an hour."""


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """Return the plan of replica-loss on the local target."""
    return prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=tmp_path)


def stored(plan: RunPlan, series: pd.DataFrame, *, prices: bool = True, **about: object) -> Cost:
    """Return what a sealed run with these series is said to have cost."""
    directory = RunDirectory.create(plan.reports, "run")
    save_inputs(plan, directory)
    if not prices:
        directory.prices.unlink()
    requests = rows(steady(2.0)).assign(
        resent=False, done=True, usage_tokens=21, tokens_reordered=0, tokens_foreign=0, gaps_s=None
    )
    write_table(requests, REQUEST_SCHEMA, directory.requests)
    write_table(series, SERIES_SCHEMA, directory.series)
    directory.injections.path.touch()
    directory.events.touch()
    directory.seal(
        Manifest(
            run_id="run",
            experiment=plan.experiment.name,
            title=plan.experiment.title,
            scenario=plan.scenario.name,
            slos=[slo.name for slo in plan.slos],
            target="local",
            target_fingerprint="f",
            seed=1,
            repeat="",
            faultload_version="0",
            versions={},
            commit="",
            clock=Clock(t0_unix_s=T0, t0_monotonic_s=0.0),
            phases=list(PHASES),
            outcome=Outcome.COMPLETED,
            platform=about,
        )
    )
    cost = judge_stored(directory).judgement.cost
    assert cost is not None
    return cost


def test_a_record_prices_itself(plan: RunPlan) -> None:
    """Nodes and engines from the series, prices from the book that was copied into it."""
    series = fleet_series(LISTED, end_s=END, t0_unix_s=T0)
    cost = stored(plan, series, config={"time_scale": 0.1})

    assert cost.usd == pytest.approx(4.6016 * END / 3600)
    assert cost.time_scale == 0.1
    assert cost.whole is not None
    assert cost.whole.busy_usd is not None
    assert cost.whole.wasted_usd is not None
    worked = cost.whole.busy_usd + cost.whole.wasted_usd
    assert worked == pytest.approx(cost.usd / 4 / 2, rel=0.02)
    assert cost.prices[0].as_of == "2026-07-20"


def test_the_platforms_own_price_counts_before_any_list(plan: RunPlan) -> None:
    """It knows what it pays."""
    series = fleet_series(replace(LISTED, usd_per_h=1.8), end_s=END, t0_unix_s=T0)

    assert stored(plan, series).usd == pytest.approx(1.8 * END / 3600)


def test_a_record_from_before_is_read_and_its_cost_is_not_known(plan: RunPlan) -> None:
    """Neither series of nodes nor prices: it can be judged as it could."""
    nothing = pd.DataFrame(columns=SERIES_SCHEMA.names).astype(
        {"t_s": np.float64, "value": np.float64}
    )
    cost = stored(plan, nothing, prices=False)

    assert (cost.usd, cost.problem) == (None, NOT_RECORDED)


def test_a_record_without_a_price_says_whose(plan: RunPlan) -> None:
    """What it cost is not made up from a list of another day."""
    series = fleet_series(LISTED, end_s=END, t0_unix_s=T0)
    cost = stored(plan, series, prices=False)

    assert cost.usd is None
    assert "no price for g6.12xlarge, on-demand, in us-east-1 (node a)" in cost.problem


def test_prices_in_a_record_are_documents_with_a_date(plan: RunPlan) -> None:
    """A person can read them, too."""
    directory = RunDirectory.create(plan.reports, "run")
    save_inputs(plan, directory)

    documents = list(yaml.safe_load_all(directory.prices.read_text(encoding="utf-8")))
    assert documents
    assert all({"region", "as_of", "source", "instances"} <= one.keys() for one in documents)
