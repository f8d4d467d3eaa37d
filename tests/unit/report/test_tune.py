"""What a sweep says: a table, a page and JSON, whatever is missing."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faultload.judge import Verdict
from faultload.judge.setting import Estimate, Held, Setting
from faultload.judge.tune import judge_curve
from faultload.report.tune import TuneReport, render_page, write_tune_reports

PASS = Held("ttft", "95 % soon", 0.05, 1000, 10, (0.005, 0.02), Verdict.PASS, 38)


def setting(batch: int, **changes: Any) -> Setting:
    """Return a setting of an engine whose step takes 8 ms and half a millisecond a seat."""
    step_s = 0.008 + 0.0005 * batch
    rate = batch / step_s
    found = Setting(
        batch=batch,
        run=f"/tmp/sweep/runs/{batch}",  # noqa: S108  # nothing is written there
        problems=(),
        window_s=(5.0, 25.0),
        requests=1000,
        good_share=0.99,
        good_per_s=rate / 40,
        tokens_per_s=Estimate(rate, rate * 0.99, rate * 1.01),
        good_tokens_per_s=Estimate(rate, rate * 0.99, rate * 1.01),
        normalized_s=Estimate(step_s, step_s * 0.99, step_s * 1.01),
        ttft_s=(0.05, 0.06),
        tpot_s=(step_s, step_s),
        slos=(PASS,),
        usd_per_1m_tokens=Estimate(1000 / rate, 990 / rate, 1010 / rate),
        usd_per_1m_good_tokens=Estimate(1000 / rate, 990 / rate, 1010 / rate),
        cost_problem="",
        engines={"running": batch - 0.5, "kv_usage_max": 0.25, "preemptions": 0.0},
    )
    return replace(found, **changes)


NOTHING = setting(
    64,
    problems=("The <client> was late.",),
    requests=0,
    good_share=None,
    good_per_s=None,
    tokens_per_s=None,
    good_tokens_per_s=None,
    normalized_s=None,
    ttft_s=(math.nan, math.nan),
    tpot_s=(math.nan, math.nan),
    slos=(),
    usd_per_1m_tokens=None,
    usd_per_1m_good_tokens=None,
    cost_problem="no price for p5",
    engines={"running": None},
)


def told(*settings: Setting, **changes: Any) -> TuneReport:
    """Return the report of these settings."""
    found = TuneReport("tune-1", "chat-fast", judge_curve(settings), 7, "faultload tune batch", [])
    return replace(found, **changes)


def test_table_names_every_setting_the_knee_and_the_cheapest() -> None:
    """One row a setting, smallest first, and what follows below it."""
    lines = told(setting(32), setting(8), setting(16)).lines()

    assert [line.split()[0] for line in lines[3:6]] == ["8", "16", "32"]
    assert lines[3].split()[-1] == "hold"
    assert any(line.startswith("knee: 16: ") for line in lines)
    assert lines[-1].startswith("cheapest that holds: 32: every SLO is proven to hold")


def test_what_is_missing_is_said_to_be_missing(tmp_path: Path) -> None:
    """No data is never a zero, in none of the three; the reason stands beside it."""
    report = told(setting(8), setting(16), NOTHING)
    row = next(line for line in report.lines() if line.lstrip().startswith("64"))

    assert row.count("no data") >= 8
    assert row.endswith("not believed")
    assert any("64: The <client> was late." in line for line in report.lines())
    assert any("64: cost not known: no price for p5" in line for line in report.lines())
    page = render_page(report, tmp_path)
    assert "The &lt;client&gt; was late." in page
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).lower()
    data = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert data["settings"][2]["tokens_per_s"] is None
    assert data["settings"][2]["ttft_s"] == [None, None]


def test_page_draws_the_curve_and_asks_nothing_of_the_network() -> None:
    """Five plots, each for wide and narrow screens, with knee and choice; links stay inside."""
    page = render_page(told(setting(8), setting(16), setting(32)), Path("/tmp/sweep"))  # noqa: S108

    assert page.count('<svg class="chart wide"') == 5
    assert page.count('<svg class="chart narrow"') == 5
    assert page.count(">knee</text>") == 10
    assert page.count(">cheapest that holds</text>") == 10
    assert 'href="runs/8/record"' in page
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)
    assert "<script" not in page


def test_page_without_any_number_says_so() -> None:
    """A sweep of which nothing is believed has no picture, and is not empty."""
    page = render_page(told(NOTHING), Path())

    assert page.count("No data.") == 5
    assert "Not known" in page


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ([setting(8), setting(16)], 0),
        ([setting(8, slos=(replace(PASS, verdict=Verdict.FAIL),))], 1),
        ([NOTHING], 2),
        ([], 2),
    ],
)
def test_exit_code_is_the_choices(settings: list[Setting], code: int) -> None:
    """0: there is one; 1: proven that there is none; 2: nothing can be said."""
    report = told(*settings)

    assert report.exit_code == code
    assert report.as_json()["exit_code"] == code


def test_files_are_written_beside_the_runs(tmp_path: Path) -> None:
    """Strict JSON and one page, with seed and repetition in both."""
    data, page = write_tune_reports(told(setting(8), setting(16)), tmp_path)

    found = json.loads(data.read_text(encoding="utf-8"))
    assert (found["seed"], found["model"], found["verdict"]) == (7, "chat-fast", "pass")
    assert "faultload tune batch" in page.read_text(encoding="utf-8")
