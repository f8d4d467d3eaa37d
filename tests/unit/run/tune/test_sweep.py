"""A sweep of the batch limit: what is refused before it, what it does, and what it leaves."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from scenes import HARM, outage, scene, slo
from stored import store
from sweeps import ROOT, Platforms, sweep_plan

from faultload.errors import InvalidRunError, RefusedError, SpecError, UsageError
from faultload.judge import Verdict
from faultload.record import RunDirectory
from faultload.run.tune.plan import Asked, TunePlan, prepare_tune
from faultload.run.tune.reading import expand, read_setting
from faultload.run.tune.telling import report_runs, report_sweep
from faultload.spec import Catalogue
from faultload.spec.scenario import ClosedArrivals


def test_plan_asks_one_tier_in_a_closed_loop_that_ends(tmp_path: Path) -> None:
    """As many users as seats, who ask again at once and stop when the window does."""
    plan = sweep_plan(tmp_path, seed=7, slo=None)
    scenario = plan.workload(32)

    assert [tier.model for tier in scenario.tiers] == ["chat-fast"]
    assert isinstance(scenario.arrivals, ClosedArrivals)
    assert [step.users for step in scenario.arrivals.steps] == [32, 0]
    assert (scenario.arrivals.think_s, scenario.sessions.share, scenario.seed) == (0.0, 0.0, 7)
    assert {slo.source.spec.tier for slo in plan.slos} <= {None, "fast"}  # type: ignore[union-attr]
    assert len(plan.slos) >= 2


def test_order_of_settings_is_drawn_by_the_seed(tmp_path: Path) -> None:
    """A machine that gets slower by the hour bends no curve; the same seed asks the same."""
    orders = [tuple(sweep_plan(tmp_path, seed=seed).sizes) for seed in (1, 1, 2, 3)]

    assert orders[0] == orders[1]
    assert len(set(orders)) > 1
    assert {tuple(sorted(order)) for order in orders} == {(4, 8, 16, 32, 64)}


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"target": "https://x.example"}, UsageError, "only a local platform's batch limit"),
        ({"target": "staging.example"}, UsageError, "--runs 16=reports/RUN"),
        ({"model": ""}, UsageError, "say which with --model"),
        ({"model": "chat-fats"}, UsageError, "chat-fast"),
        ({"sizes": (8, 0)}, UsageError, "found 0"),
        ({"sizes": (8, 8)}, UsageError, "found 8 twice"),
        ({"slo": "nothing"}, UsageError, "no SLO named 'nothing'"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_a_way_out(
    tmp_path: Path, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    """One line, before anything is started."""
    given = {"target": "local", "model": "chat-fast", "reports": tmp_path} | asked

    with pytest.raises(error) as found:
        prepare_tune(Catalogue(ROOT), Asked(**given))
    assert said in str(found.value)
    assert "\n" not in str(found.value)


def test_production_is_not_swept(tmp_path: Path) -> None:
    """A sweep fills every seat of a platform."""
    target = tmp_path / "local.yaml"
    text = (ROOT / "targets/local.yaml").read_text(encoding="utf-8")
    target.write_text(f"{text}production: true\n", encoding="utf-8")

    with pytest.raises(RefusedError, match="production"):
        prepare_tune(Catalogue(ROOT), Asked(target=str(target), model="chat-fast"))


@dataclass(frozen=True)
class Swept:
    """A sweep that has ended, and what it was told of."""

    plan: TunePlan
    platforms: Platforms
    path: Path
    done: list[tuple[int, RunDirectory]]

    @property
    def runs(self) -> dict[int, RunDirectory]:
        """Its records by batch limit."""
        return dict(self.done)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Return a sweep around the knee."""
    plan, platforms = sweep_plan(tmp_path_factory.mktemp("sweep"), (8, 16, 32)), Platforms()
    sweep = platforms.sweep(plan)
    return Swept(plan, platforms, sweep.path, sweep.run())


def test_sweep_finds_the_knee_and_the_cheapest_setting(swept: Swept) -> None:
    """The whole way: a platform a setting, its record, the curve, its files; nothing left up."""
    report, written = report_sweep(swept.plan, swept.path, swept.done)

    assert swept.platforms.played == list(swept.plan.sizes)
    assert swept.platforms.open_now == 0
    assert report.curve.knee.batch == 16
    assert (report.curve.choice.verdict, report.curve.choice.batch) == (Verdict.PASS, 32)
    assert report.exit_code == 0
    assert [one.name for one in written] == ["tune.json", "tune.html"]
    assert [one.engines["running"] for one in report.curve.settings] == [8.0, 16.0, 32.0]
    prices = [one.usd_per_1m_tokens for one in report.curve.settings]
    values = [price.value for price in prices if price is not None]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)
    manifest = swept.runs[8].manifest()
    assert (manifest.seed, manifest.repeat) == (swept.plan.seed, swept.plan.repeat)


def test_stored_sweep_says_the_same_again(swept: Swept, tmp_path: Path) -> None:
    """Its directory alone is enough, and other SLOs can be asked of it."""
    live, _ = report_sweep(swept.plan, swept.path, swept.done)
    again, _ = report_runs([str(swept.path)], "", None, tmp_path / "again", "")

    assert again.curve == live.curve
    strict = tmp_path / "strict.yaml"
    document = slo("soon", "ttft_s <= 0.05").model_dump(mode="json", by_alias=True)
    strict.write_text(yaml.safe_dump(document), encoding="utf-8")
    other, _ = report_runs([str(swept.path)], "", strict, tmp_path / "other", "")
    assert [one.verdict for one in other.curve.settings] == ["pass", "pass", "fail"]
    assert other.curve.choice.batch == 16


def test_runs_are_named_by_their_setting(swept: Swept, tmp_path: Path) -> None:
    """A record says its setting, else whoever gives it does; two of one setting are refused."""
    small, large = swept.runs[8].path, swept.runs[16].path

    assert [size for size, _ in expand([f"48={small}", str(large)])] == [48, None]
    assert read_setting(swept.runs[8], 48).batch == 48
    assert "its limit is not 8" in read_setting(swept.runs[16], 8).problems[0]
    with pytest.raises(UsageError, match="found two with 16"):
        report_runs([f"16={small}", str(large)], "", None, tmp_path, "")
    with pytest.raises(UsageError, match="expected SIZE=DIR"):
        expand(["large=nowhere"])
    with pytest.raises(UsageError, match="expected a run's directory"):
        expand(["8=nowhere"])


def test_run_with_a_fault_is_read_up_to_its_first_harm(tmp_path: Path) -> None:
    """Its baseline is the point; a record that does not say its setting wants to be told."""
    run = store(tmp_path, scene(outage().assign(model="chat-fast")))
    found = read_setting(run, 16, "chat-fast")

    assert (found.batch, found.window_s, found.problems) == (16, (10.0, HARM), [])
    assert found.good_share == 1.0
    assert found.usd_per_1m_tokens is None
    assert found.cost_problem
    with pytest.raises(UsageError, match="does not say the engines' max_num_seqs"):
        read_setting(run, None, "chat-fast")
    with pytest.raises(UsageError, match="say which with --model"):
        read_setting(run, 16)


def test_changed_record_proves_nothing(swept: Swept, tmp_path: Path) -> None:
    """What was altered after it was sealed is not read."""
    shutil.copytree(swept.runs[8].path, tmp_path / "copy")
    run = RunDirectory.open(tmp_path / "copy")
    run.scenario.write_text("name: other\n", encoding="utf-8")

    with pytest.raises(SpecError, match="changed since it was sealed"):
        read_setting(run)


def test_rows_that_are_not_believed_are_measured_again(tmp_path: Path) -> None:
    """Once; both records are kept, and the later one counts."""
    late = {"lag_s_p99": 0.5}
    platforms = Platforms(spoil=lambda batch, attempt: late if (batch, attempt) == (8, 1) else {})
    sweep = platforms.sweep(sweep_plan(tmp_path, sizes=(8, 16)))
    runs = dict(sweep.run())

    assert sorted(platforms.played) == [8, 8, 16]
    assert read_setting(runs[8]).problems == []
    assert len(list((sweep.path / "runs").iterdir())) == 3
    assert len(expand([str(sweep.path)])) == 2


def test_load_that_fails_twice_is_a_setting_that_is_not_known(tmp_path: Path) -> None:
    """It has no numbers, is no point of the knee, and never wins."""
    plan = sweep_plan(tmp_path, sizes=(8, 16))
    sweep = Platforms(fails=(16,)).sweep(plan)
    report, _ = report_sweep(plan, sweep.path, sweep.run())

    assert report.curve.settings[1].problems == ["the load client died"]
    assert report.curve.choice.batch == 8
    assert list(report.curve.choice.open) == [16]
    assert report.curve.knee.batch is None


def test_platform_that_kept_another_setting_ends_the_sweep(tmp_path: Path) -> None:
    """A curve of what was not set would be a lie."""
    platforms = Platforms(seats=lambda _: 32)
    sweep = platforms.sweep(sweep_plan(tmp_path, sizes=(8,)))

    with pytest.raises(InvalidRunError, match="max_num_seqs=32"):
        sweep.run()
    assert platforms.open_now == 0
    assert not sweep.path.exists()


def test_interrupted_sweep_keeps_what_was_measured_and_no_half(tmp_path: Path) -> None:
    """The platform is ended; a sweep that measured nothing leaves no directory."""
    plan = sweep_plan(tmp_path, sizes=(8, 16))
    for at, kept in ((plan.sizes[1], 1), (plan.sizes[0], 0)):
        platforms = Platforms(interrupt_at=at)
        sweep = platforms.sweep(plan)
        with pytest.raises(KeyboardInterrupt):
            sweep.run()
        assert platforms.open_now == 0
        runs = list((sweep.path / "runs").iterdir()) if sweep.path.exists() else []
        assert len(runs) == kept
        assert all((run / "record" / "manifest.json").exists() for run in runs)
        shutil.rmtree(sweep.path, ignore_errors=True)
