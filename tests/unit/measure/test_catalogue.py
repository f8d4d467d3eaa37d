"""The catalogue names only what is really exported, and prices only what is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from faultload.errors import SpecError, UsageError
from faultload.measure import CATALOGUE, Entry, bucket_edges, catalogue_of
from faultload.measure.catalogue import Absence
from faultload.spec import load_target
from faultload.spec.prices import load_prices

ROOT = Path(__file__).parents[3]


def test_raw_series_are_in_the_one_home_of_names() -> None:
    """Dashboards, alerts and the harness use the same names."""
    text = (ROOT / "platform/observability/metrics.yaml").read_text(encoding="utf-8")
    known: set[str] = set()
    for series in yaml.safe_load(text)["series"]:
        parts = ("_bucket", "_sum", "_count") if series["type"] == "histogram" else ("",)
        known |= {series["name"] + part for part in parts}

    assert {entry.name for entry in CATALOGUE if entry.raw} <= known


def test_units_are_those_of_the_one_home_of_names() -> None:
    """A raw entry's unit is what the exporter has; buckets and counts are numbers of events."""
    text = (ROOT / "platform/observability/metrics.yaml").read_text(encoding="utf-8")
    short = {"seconds": "s", "US dollars per hour": "USD/h", "of the resource": ""}
    said = {s["name"]: short.get(s["unit"], s["unit"]) for s in yaml.safe_load(text)["series"]}
    wrong = [
        f"{entry.name}: {entry.unit}, expected {said[entry.name]}"
        for entry in CATALOGUE
        if entry.raw
        and said.get(entry.name)
        and short.get(entry.unit, entry.unit) != said[entry.name]
    ]

    assert wrong == []


def test_edges_are_those_that_vllm_exports() -> None:
    """A share under an edge is exact only at an edge that is there."""
    page = (ROOT / "tests/platform/engine_sim/data/golden_metrics.prom").read_text("utf-8")
    named = [e.name for e in CATALOGUE if e.name.startswith("vllm:") and e.name.endswith("_bucket")]
    for name in named:
        exported = re.findall(rf'^{name}{{.*le="([0-9.]+)"', page, re.MULTILINE)
        assert [float(edge) for edge in exported] == list(bucket_edges(name)), name
    assert len(named) == 5


def test_every_latency_of_the_service_levels_is_collected() -> None:
    """TTFT, TPOT, ITL, whole answers and the time in the queue, as the engine counts them."""
    derived = {entry.name.split("_under_")[0] for entry in CATALOGUE if "_under_" in entry.name}

    wanted = {"ttft", "tpot", "itl", "e2e", "queue_time"}
    assert derived == {f"engine:{short}" for short in wanted}


def test_what_older_records_lack_is_not_missed_there() -> None:
    """A series that is collected since is no hole in a record that was made before."""
    added = ("time_per_output", "queue_time", "DCGM")
    since = [e for e in CATALOGUE if e.raw and any(word in e.name for word in added)]

    assert {entry.absence for entry in since} == {Absence.NOT_EXPORTED}
    assert len(since) == 13


def test_names_are_unique_and_said_in_words() -> None:
    """Each entry is one series with a unit and a meaning."""
    names = [entry.name for entry in CATALOGUE]

    assert len(names) == len(set(names))
    assert all(entry.unit and entry.meaning for entry in CATALOGUE)


def _staging(tmp_path: Path, more: str = "") -> tuple[Entry, ...]:
    text = (ROOT / "targets/staging.example.yaml").read_text(encoding="utf-8")
    path = tmp_path / "staging.yaml"
    path.write_text(
        text.replace("  namespaces: [inference]\n", f"  namespaces: [inference, beta]\n{more}")
    )
    return catalogue_of(load_target(path))


def test_a_shared_prometheus_shows_no_other_namespace(tmp_path: Path) -> None:
    """Others' requests, engines and pods are not ours; nodes and GPUs belong to no namespace."""
    nobodys = re.compile(r"kube_node_|node_total|DCGM_")

    for entry in _staging(tmp_path):
        selectors = 0 if nobodys.match(entry.name) else entry.promql.count("{")
        assert entry.promql.count('namespace=~"inference|beta"') == selectors


def test_a_prometheus_of_several_clusters_shows_no_other_cluster(tmp_path: Path) -> None:
    """Nor its nodes; and pods' series without a label of their namespace are found all the same."""
    labels = "  prometheus_labels: {cluster: staging}\n  namespace_label: null\n"

    for entry in _staging(tmp_path, labels):
        assert entry.promql.count("{") == entry.promql.count('cluster="staging"') > 0
        assert "namespace" not in entry.promql


def test_rates_are_taken_over_four_scrapes(tmp_path: Path) -> None:
    """One sample in a window is no rate: at a scrape every 15 s that is what 15 s would hold."""
    derived = [entry.promql for entry in _staging(tmp_path) if not entry.raw]

    assert derived
    assert all(text.count("[60s]") == text.count("rate(") for text in derived)
    assert catalogue_of(load_target(ROOT / "targets/local.yaml")) == CATALOGUE


def test_prices_are_dated_and_sourced() -> None:
    """A price says when and from where."""
    prices = load_prices()

    assert prices.source
    assert prices.as_of.year >= 2026
    assert prices.of("g6.xlarge").usd_per_hour == pytest.approx(0.8048)


def test_a_missing_price_is_an_error() -> None:
    """Never zero: the nearest name is offered instead."""
    with pytest.raises(UsageError, match="did you mean 'g6.xlarge'"):
        load_prices().of("g6.xlrge")


def test_a_bad_price_list_says_where(tmp_path: Path) -> None:
    """A free machine is a mistake in the file."""
    path = tmp_path / "prices.yaml"
    row = "{instance_type: a, gpu: T4, gpus: 1, gpu_memory_gib: 16, usd_per_hour: 0}"
    path.write_text(f"region: r\nas_of: 2026-01-01\nsource: s\ninstances:\n  - {row}\n")

    with pytest.raises(SpecError, match=r"instances\[0\].usd_per_hour"):
        load_prices(path)
