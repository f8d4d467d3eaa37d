"""Logs: searches of a postmortem ask for labels that the collector sets, and those are few."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

HOME = Path(__file__).parents[2] / "platform/observability"
LOGS: dict[str, Any] = yaml.safe_load((HOME / "logs.yaml").read_text())
LOKI: dict[str, Any] = yaml.safe_load((HOME / "loki.yaml").read_text())
ALLOY = (HOME / "logs.alloy").read_text()


@pytest.mark.parametrize("search", LOGS["searches"], ids=lambda s: s["question"])
def test_a_search_asks_for_labels_that_are_set(search: dict[str, str]) -> None:
    """A label that nobody sets finds nothing, in the one hour when it matters."""
    selector = promql_parser.parse(search["query"][: search["query"].index("}") + 1])

    asked = {matcher.name for matcher in selector.matchers.matchers}

    assert asked
    assert asked <= LOGS["labels"].keys()
    assert search["question"].endswith("?")


def test_the_collector_sets_these_labels_and_keeps_no_others() -> None:
    """logs.yaml is the one home of their names."""
    made = set(re.findall(r'target_label\s*=\s*"(\w+)"', ALLOY))
    kept = [set(re.findall(r'"(\w+)"', one)) for one in re.findall(r"values = \[(.+)\]", ALLOY)]

    assert made == LOGS["labels"].keys()
    assert set.union(*kept) == LOGS["labels"].keys()


def test_the_collector_is_whole() -> None:
    """Every receiver that something is forwarded to is defined, and braces match."""
    for kind, name in re.findall(r"\[(loki\.\w+)\.(\w+)\.receiver\]", ALLOY):
        assert f'{kind} "{name}" {{' in ALLOY
    assert ALLOY.count("{") == ALLOY.count("}")


def test_loki_keeps_logs_longer_than_a_budget_looks_back() -> None:
    """Every minute of the 30 days that an error budget counts can still be read."""
    assert int(LOKI["limits_config"]["retention_period"].removesuffix("h")) > 30 * 24
    assert LOKI["compactor"]["retention_enabled"] is True


def test_loki_refuses_a_flood_of_labels() -> None:
    """A label with a value a request would make a stream a request."""
    assert len(LOGS["labels"]) <= LOKI["limits_config"]["max_label_names_per_series"] <= 10
