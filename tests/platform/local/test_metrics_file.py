"""metrics.yaml, the one home of names: whole, and true to what our own parts define."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from inference_platform.router import metrics as router

FILE = Path(__file__).parents[3] / "platform/observability/metrics.yaml"
HOME: dict[str, Any] = yaml.safe_load(FILE.read_text())


@pytest.mark.parametrize("series", HOME["series"], ids=lambda s: s["name"])
def test_a_series_says_everything_about_itself(series: dict[str, Any]) -> None:
    """A name without unit, meaning or explained labels is no contract."""
    said = set(series) - {"only_while", "from_first_event", "values", "only_on_kubernetes"}
    assert said == {"name", "job", "type", "unit", "labels", "meaning"}
    assert series["type"] in {"counter", "gauge", "histogram"}
    assert series["job"] in {*HOME["jobs"], "*"}
    assert {*series["labels"], *series.get("only_on_kubernetes", ())} <= HOME["labels"].keys()
    assert set(series.get("values", {})) <= set(series["labels"])
    assert (series["type"] == "counter") == series["name"].endswith("_total")


def test_a_label_has_a_meaning_and_a_use() -> None:
    """No label is explained that no series has, and each has one meaning."""
    used = {
        label
        for series in HOME["series"]
        for label in (*series["labels"], *series.get("only_on_kubernetes", ()))
    }
    jobs = HOME["jobs"].values()
    used |= {
        label for job in jobs for label in (*job["labels"], *job.get("only_on_kubernetes", ()))
    }

    assert HOME["labels"].keys() <= used
    assert all(set(label) <= {"meaning", "values"} for label in HOME["labels"].values())


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("outcome", router.OUTCOMES),
        ("reason", router.RETRY_REASONS),
        ("result", router.AFFINITY_RESULTS),
    ],
)
def test_the_router_counts_by_the_listed_values(label: str, values: tuple[str, ...]) -> None:
    """A value that the router adds or drops must reach those who query it."""
    assert HOME["labels"][label]["values"] == list(values)
