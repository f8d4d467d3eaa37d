"""The forms of an SLI that OpenSLO has, and what each of them counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from faultload.spec import SLO, load_slos
from faultload.spec.slo import PrometheusSource, RequestsSource


def _slo(folder: Path, indicator: str, objective: str) -> SLO:
    document = {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": "x"},
        "spec": {
            "description": "d",
            "service": "s",
            "indicator": {"metadata": {"name": "i"}, "spec": yaml.safe_load(indicator)},
            "timeWindow": [{"duration": "30d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [yaml.safe_load(objective)],
        },
    }
    path = folder / "slos.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_slos(path)[0]


def test_a_threshold_on_rows_is_a_ratio_of_rows(tmp_path: Path) -> None:
    """`thresholdMetric` with a value is the same promise as a query with its limit."""
    slo = _slo(
        tmp_path,
        "thresholdMetric: {metricSource: {type: requests, spec: {tier: fast, value: ttft_s}}}",
        "{op: lte, value: 0.1, target: 0.95}",
    )

    assert isinstance(slo.source, RequestsSource)
    assert slo.statement == "95 % of fast requests: ttft_s <= 0.1"


@pytest.mark.parametrize(("value", "edge"), [("0.5", "0.5"), ("1", "1.0"), ("2.5", "2.5")])
def test_a_threshold_on_a_histogram_counts_its_bucket(
    tmp_path: Path, value: str, edge: str
) -> None:
    """The objective's value is the bucket's edge as exporters and Prometheus 3 write it."""
    source = "{type: prometheus, spec: {query: 'ttft_seconds_bucket{tier=\"fast\"}'}}"
    slo = _slo(
        tmp_path,
        f"thresholdMetric: {{metricSource: {source}}}",
        f"{{op: lte, value: {value}, target: 0.95}}".replace("value: 1,", "value: 1.0,"),
    )

    assert isinstance(slo.source, PrometheusSource)
    assert slo.source.spec.good == f'ttft_seconds_bucket{{tier="fast",le="{edge}"}}'
    assert slo.source.spec.total == 'ttft_seconds_bucket{tier="fast",le="+Inf"}'


def test_a_ratio_of_two_counters(tmp_path: Path) -> None:
    """OpenSLO's own form of a ratio, a query each, is the same as both in one source."""
    good, total = (
        f"{name}: {{metricSource: {{type: prometheus, spec: {{query: {name}_total}}}}}}"
        for name in ("good", "total")
    )
    slo = _slo(tmp_path, f"ratioMetric: {{counter: true, {good}, {total}}}", "{target: 0.99}")

    assert isinstance(slo.source, PrometheusSource)
    assert (slo.source.spec.good, slo.source.spec.total) == ("good_total", "total_total")
    assert slo.server_view is not None
    assert not slo.server_view.nearest


def test_a_target_in_percent_is_a_share(tmp_path: Path) -> None:
    """99.5 % is 0.995, without floating-point dust."""
    source = "{metricSource: {type: requests, spec: {good: served}}}"
    rows = f"ratioMetric: {{rawType: success, raw: {source}}}"
    slo = _slo(tmp_path, rows, "{targetPercent: 99.5}")

    assert slo.target == 0.995


def test_every_form_survives_being_written_again(tmp_path: Path) -> None:
    """A record holds the SLOs as they were read: what it says of them must not change."""
    slo = _slo(
        tmp_path,
        "thresholdMetric: {metricSource: {type: requests, spec: {value: e2e_s}}}",
        "{op: lte, value: 30.0, targetPercent: 99.0}",
    )
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(slo.model_dump(mode="json", by_alias=True)), encoding="utf-8")

    assert load_slos(path) == [slo]
