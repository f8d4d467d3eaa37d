"""The ScaledObject is this tier's entry of triggers.yaml, and what is wrong there is refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import charts
import pytest
import yaml
from charts import CHARTS, only, refusal, render
from platform_tools import ROOT

_FILE = ROOT / "platform/observability/triggers.yaml"
_METRICS = ROOT / "platform/observability/metrics.yaml"
_KNOWN = '          ignoreNullValues: "false"\n'


def _entry(tier: str) -> dict[str, Any]:
    document = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return next(one for one in document["scaledObjects"] if one["name"] == tier)


@pytest.mark.parametrize(
    ("tier", "release"), [("fast", "chat-fast"), ("reasoning", "chat-reasoning")]
)
def test_scaled_object_is_what_the_file_says(tier: str, release: str) -> None:
    """Queries, thresholds and windows have one home; the chart adds only whom to scale and ask."""
    change = {"tier": tier, "model": {"name": release}}
    spec = only(render("vllm", change=change, release=release), "ScaledObject")["spec"]
    wanted = _entry(tier)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": release}
    assert spec.pop("scaleTargetRef") == target
    addresses = {trigger["metadata"].pop("serverAddress") for trigger in spec["triggers"]}
    assert addresses == {"http://prometheus-operated.observability.svc:9090"}
    assert spec == {
        key: value for key, value in wanted.items() if key not in {"name", "scaleTargetRef"}
    }


def _dead(spec: dict[str, Any]) -> list[str]:
    """Return the series of a ScaledObject's queries that metrics.yaml does not have."""
    known = yaml.safe_load(_METRICS.read_text(encoding="utf-8"))
    names = {one["name"] for one in known["series"]}
    asked = [
        re.findall(r"([a-zA-Z_:][\w:]*)\{", one["metadata"]["query"]) for one in spec["triggers"]
    ]
    assert all(asked)
    return [name for query in asked for name in query if name not in names]


@pytest.mark.parametrize("layers", [(), ("tensor-parallel",)], ids=["fast", "reasoning"])
def test_every_query_asks_for_series_that_exist(layers: tuple[str, ...]) -> None:
    """A dead metric reads nothing for ever, and the tier never grows."""
    assert _dead(only(render("vllm", *layers), "ScaledObject")["spec"]) == []


def test_loss_of_telemetry_is_an_error() -> None:
    """KEDA's default reads 0 where nothing answers; then a fallback holds what is there."""
    spec = only(render("vllm"), "ScaledObject")["spec"]
    assert {one["metadata"]["ignoreNullValues"] for one in spec["triggers"]} == {"false"}
    assert spec["fallback"]["replicas"] >= spec["minReplicaCount"]


def test_autoscaler_owns_the_replicas() -> None:
    """A number in the Deployment would be put back at every upgrade, whatever the load."""
    assert "replicas" not in only(render("vllm"), "Deployment")["spec"]
    assert only(render("vllm", "dev-simulator"), "Deployment")["spec"]["replicas"] == 2


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Exchanges a text, wherever it is, in the triggers of a copy of the chart."""
    folder = shutil.copytree(CHARTS["vllm"], tmp_path / "vllm")
    monkeypatch.setitem(charts.CHARTS, "vllm", folder)
    charts._templated.cache_clear()

    def exchange(old: str, new: str) -> None:
        file = folder / "files/triggers.yaml"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    yield exchange
    charts._templated.cache_clear()


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("lost-telemetry-is-an-error", _KNOWN, _KNOWN.replace("false", "true")),
        ("lost-telemetry-is-an-error", _KNOWN, ""),
        ("trigger-asks-for-its-tier", 'tier="fast"', 'model_name="chat-fast"'),
        ("scale-down-after-cold-start", "stabilizationWindowSeconds: 600", "x: 600"),
        ("blind-holds-the-minimum", "replicas: 2", "replicas: 1"),
    ],
)
def test_spoilt_triggers_are_refused(
    copy: Callable[[str, str], None], rule: str, old: str, new: str
) -> None:
    """The chart is the last who sees triggers.yaml before a cluster does."""
    copy(old, new)
    assert f"rule {rule}: " in refusal("vllm", change={})


def test_dead_metric_is_found(copy: Callable[[str, str], None]) -> None:
    """A name that vLLM gave up years ago renders well, so the check itself is checked."""
    copy("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
    spec = only(render("vllm"), "ScaledObject")["spec"]
    assert _dead(spec) == ["vllm:gpu_cache_usage_perc"]
