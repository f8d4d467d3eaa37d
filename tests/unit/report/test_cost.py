"""What a run cost, as reports show it: known, partly known, or not known and why."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from faultload.judge import Expectation, Verdict
from faultload.judge.cost_model import Cost, Share
from faultload.report import cost as shown
from faultload.report.facts import claim
from faultload.spec.prices import Quote

PART = Share("fault", 30.0, 0.02, 0.01, 0.004, 0.005, 0.001, 900, 800, 0.025)
KNOWN = Cost(
    usd=0.02,
    error_usd=0.0001,
    shares=(PART, replace(PART, part="run")),
    prompt_tokens=3000,
    output_tokens=900,
    good_tokens=800,
    usd_per_1k_output_tokens=0.0222,
    usd_per_1k_good_tokens=0.025,
    usd_per_1m_tokens=5.128,
    usd_per_1k_equivalent_tokens=0.0121,
    node_hours=0.0833,
    spot_share=0.5,
    usd_all_on_demand=0.04,
    fault_usd=-0.001,
    fault_lost_usd=0.006,
    time_scale=0.1,
    prices=(
        Quote("g6.12xlarge", "us-east-1", "spot", 1.9, "2026-11-01", "price history", typical=True),
    ),
)


def test_a_known_cost_is_one_sentence_and_one_table(killed: Any) -> None:
    """The page, the postmortem, the JSON and CI say the same."""
    killed.judgement = replace(killed.judgement, cost=KNOWN)
    texts = killed.write()

    page = texts["report.html"]
    assert "The run cost $0.02 (± $0.0001), $5.13 per million tokens" in page
    assert 'id="cost"' in page
    assert "the whole run" in page
    assert "there, cold alone would be $0.05" in page
    assert "a typical value and not the one paid" in page
    assert "-$0.001 beyond the baseline&#39;s rate" in page
    assert r"Money: The run cost \$0.02" in texts["postmortem.md"]
    data = json.loads(texts["verdict.json"])["judgement"]["cost"]
    assert data["shares"][-1]["cold_usd"] == 0.005
    assert data["usd_all_spot"] is None
    assert '<property name="usd_per_1m_tokens" value="5.128"' in texts["junit.xml"]


@pytest.mark.parametrize(
    ("cost", "why"),
    [(None, "nobody looked at the machines"), (Cost(problem="no price for g9"), "no price for g9")],
)
def test_a_cost_that_is_not_known_says_why(killed: Any, cost: Cost | None, why: str) -> None:
    """Never 0, and no table of nothing."""
    killed.judgement = replace(killed.judgement, cost=cost)
    texts = killed.write()

    assert f"Not known: {why}." in texts["report.html"]
    assert f"Money: Not known: {why}." in texts["postmortem.md"]
    assert "$0" not in texts["report.html"]
    assert 'name="usd' not in texts["junit.xml"]


def test_a_bill_that_was_not_divided_says_so() -> None:
    """What is known is shown beside it."""
    part = replace(PART, busy_usd=None, idle_usd=None, cold_usd=None, wasted_usd=None)
    cost = replace(KNOWN, shares=(part, part), parts_problem="nobody looked", fault_lost_usd=None)

    assert shown.sentence(cost).endswith("What became of it is not known: nobody looked.")
    assert shown.table(cost)[0][1][:5] == ["$0.02", *["no data"] * 4]
    assert not [row for row in shown.facts(cost) if row[0] == "Shortened time"]


def test_a_run_that_served_nothing_has_no_cost_of_a_token() -> None:
    """Its machines were paid for all the same."""
    cost = replace(KNOWN, usd_per_1m_tokens=None, usd_per_1k_good_tokens=None)

    assert "and no token was served" in shown.sentence(cost)


def test_the_claim_is_in_dollars() -> None:
    """As the other claims are in seconds or percent."""
    made = Expectation("usd_per_1m_tokens_max", 0.6, 0.4567, Verdict.PASS, "")

    assert claim(made) == ("at most $0.6", "$0.457")
