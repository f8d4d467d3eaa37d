"""Dashboards import cleanly, ask only what is exported, turn red where promises say, and help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from faultload.measure.metric_lint import lint
from faultload.measure.promtool import find_promtool
from faultload.measure.queries import Kind, read_queries
from faultload.spec.metrics import load_metrics

ROOT = Path(__file__).parents[2]
HOME = ROOT / "platform/observability"
METRICS = load_metrics(HOME / "metrics.yaml")
BOARDS = {p.stem: json.loads(p.read_text()) for p in sorted((HOME / "dashboards").glob("*.json"))}
RECORDED = [q for q in read_queries([HOME / "rules"]) if q.kind is Kind.RECORD]

_each = pytest.mark.parametrize("name", sorted(BOARDS))


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the panels that draw something."""
    yield from (panel for panel in board["panels"] if panel["type"] != "row")


def amiss(board: Mapping[str, Any]) -> list[str]:
    """Return what keeps a panel from helping, each with its title."""
    found = []
    for panel in panels(board):
        title, links = panel["title"], [link["url"] for link in panel.get("links", [])]
        pages = [re.fullmatch(r"\$\{runbooks\}/([\w-]+\.md)", link) for link in links]
        if not any(page and (ROOT / "docs/runbooks" / page[1]).is_file() for page in pages):
            found.append(f"{title}: no link to a page of docs/runbooks/")
        if len(panel.get("description", "")) < 40:
            found.append(f"{title}: no description that says what to do")
        if not panel["fieldConfig"]["defaults"].get("unit"):
            found.append(f"{title}: no unit")
    return found


def test_the_six_are_there() -> None:
    """One for each question: engines, GPUs, cost, scaling, router, promises."""
    assert sorted(BOARDS) == sorted(
        "vllm-metrics gpu-utilization cost-tracking autoscaling router slo-error-budget".split()
    )


def test_they_are_what_their_short_files_say() -> None:
    """Nobody edits the JSON: the next writing would lose it."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/dashboards.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@_each
def test_it_imports_cleanly(name: str) -> None:
    """What Grafana's import needs: a uid, a schema it knows, unique ids, its data source chosen."""
    board = BOARDS[name]
    assert board["uid"] == name
    assert board["title"]
    assert board["schemaVersion"] >= 39
    assert "id" not in board
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    first = board["templating"]["list"][0]
    assert (first["name"], first["type"]) == ("datasource", "datasource")
    for panel in panels(board):
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        refs = [target["refId"] for target in panel["targets"]]
        assert refs
        assert len(refs) == len(set(refs))


@_each
def test_no_panel_hides_another(name: str) -> None:
    """Panels lie side by side, within Grafana's 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


@_each
def test_every_panel_helps(name: str) -> None:
    """It has a unit, says what to do when it is red, and leads to a page."""
    assert amiss(BOARDS[name]) == []


@_each
def test_every_query_names_what_is_exported(name: str) -> None:
    """Series, labels, values and variables are those of metrics.yaml and the rules."""
    queries = read_queries([HOME / f"dashboards/{name}.json"])
    assert [str(one) for one in lint(queries, METRICS, RECORDED)] == []


def red(board: str, title: str, color: str = "red") -> float:
    """Return where a panel turns red (or another color), or stops being red."""
    (panel,) = (one for one in panels(BOARDS[board]) if one["title"] == title)
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    if steps[0]["color"] == "red":
        return float(steps[1]["value"])
    return float(next(step["value"] for step in steps if step["color"] == color))


def _slos() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((ROOT / "slos/chat.yaml").read_text())
    return {one["metadata"]["name"]: one["spec"] for one in documents}


def _limit(name: str) -> float:
    good = _slos()[name]["indicator"]["spec"]["ratioMetric"]["raw"]["metricSource"]["spec"]["good"]
    return float(good.split("<=")[1])


def test_red_is_where_the_promises_are_broken() -> None:
    """Limits of slos/, read here by another way than the one that makes the dashboards."""
    for board in ("vllm-metrics", "router"):
        assert red(board, "Time to first token") == _limit("reasoning-ttft")
        assert red(board, "Time to first token", "yellow") == _limit("fast-ttft")
    assert red("vllm-metrics", "Time per output token") == _limit("chat-tpot")
    target = _slos()["chat-availability"]["objectives"][0]["target"]
    assert red("router", "Share of bad requests") == pytest.approx(1 - target)
    windows = yaml.safe_load((ROOT / "slos/windows.yaml").read_text())["windows"]
    rates = {one["long"]: one["burn_rate"] for one in windows}
    for title, long in (("an hour", "1h"), ("six hours", "6h"), ("three days", "3d")):
        assert red("slo-error-budget", f"Burn rate over {title}") == rates[long]


def test_every_slo_has_its_lines() -> None:
    """Burn rates are over each SLO's own budget; a new SLO appears without being typed."""
    for panel in panels(BOARDS["slo-error-budget"]):
        if panel["title"].startswith("Burn rate"):
            said = {target["legendFormat"]: target["expr"] for target in panel["targets"]}
            assert said.keys() == _slos().keys()
            for name, spec in _slos().items():
                budget = float(said[name].rpartition("/ ")[2])
                assert budget == pytest.approx(1 - spec["objectives"][0]["target"])


# Grafana's ids: `mbytes` counts in 1024s as MiB does, `decmbytes` in 1000s.
_DRAWN_AS = {
    "MiB": "mbytes",
    "MHz": "MHz",
    "W": "watt",
    "°C": "celsius",
    "percent": "percent",
    "seconds": "s",
    "US dollars per hour": "currencyUSD",
}


def test_what_is_drawn_as_it_is_has_its_own_unit() -> None:
    """A panel of a bare series says it in the unit of metrics.yaml; a ratio is no percentage."""
    drawn = set()
    for name, board in BOARDS.items():
        for panel in panels(board):
            unit = panel["fieldConfig"]["defaults"]["unit"]
            for target in panel["targets"]:
                bare = re.fullmatch(r"(\w[\w:]*)(\{[^{}]*\})?", target["expr"])
                series = METRICS.by_name.get(bare[1]) if bare else None
                if series and series.unit in _DRAWN_AS:
                    assert unit == _DRAWN_AS[series.unit], f"{name}: {panel['title']}"
                    drawn.add(series.unit)
    assert {"MiB", "MHz", "W", "°C", "percent"} <= drawn


def test_the_bill_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    """Dollars an hour: the lines by how machines are paid for add up to the line of all."""
    (panel,) = (p for p in panels(BOARDS["cost-tracking"]) if p["title"] == "US dollars an hour")
    said = {target["legendFormat"]: target["expr"] for target in panel["targets"]}
    paid = {
        "karpenter": (1.5, 'label_karpenter_sh_capacity_type="spot"', 1),
        "managed-spot": (2.0, 'label_eks_amazonaws_com_capacity_type="SPOT"', 4),
        "managed": (4.5, 'label_eks_amazonaws_com_capacity_type="ON_DEMAND"', 4),
        "by-hand": (8.0, "", 1),
        "without-gpu": (100.0, 'label_eks_amazonaws_com_capacity_type="ON_DEMAND"', 0),
    }
    series = [
        {"series": text, "values": f"{value}x10"}
        for node, (usd, label, gpus) in paid.items()
        for text, value in (
            (f'node_total_hourly_cost{{node="{node}"}}', usd),
            (f'kube_node_labels{{node="{node}"{"," if label else ""}{label}}}', 1),
            (f'kube_node_status_allocatable{{node="{node}",resource="nvidia_com_gpu"}}', gpus),
        )
    ]
    expected = [('{capacity_type="spot"}', 3.5), ('{capacity_type="on-demand"}', 4.5), ("{}", 8.0)]
    test = {
        "rule_files": [str(HOME / f"rules/{name}.yaml") for name in ("scaling", "cost")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": said["{{capacity_type}}"],
                        "eval_time": "5m",
                        "exp_samples": [{"labels": k, "value": v} for k, v in expected],
                    },
                    {
                        "expr": f"sum({said['{{capacity_type}}']}) - on() {said['all']}",
                        "eval_time": "5m",
                        "exp_samples": [{"labels": "{}", "value": 0}],
                    },
                ],
            }
        ],
    }
    path = tmp_path / "bill.yaml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [find_promtool(ROOT), "test", "rules", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_red_is_where_alerts_and_triggers_act() -> None:
    """Numbers that no SLO has stand in a rule or a trigger, and here once more: held together."""
    triggers = yaml.safe_load((HOME / "triggers.yaml").read_text())["scaledObjects"][0]["triggers"]
    acts = {one["name"]: float(one["metadata"]["threshold"]) for one in triggers}
    rules = {
        q.name: float(q.text.rsplit(maxsplit=1)[-1])
        for q in read_queries([HOME / "rules"])
        if q.name in ("GpuMemoryLow", "CostPerMillionTokensHigh")
    }
    cost = "US dollars for a million tokens, over the last hour"

    assert red("vllm-metrics", "Requests waiting") == acts["waiting"]
    assert red("autoscaling", "Requests waiting, a replica") == acts["waiting"]
    assert red("vllm-metrics", "KV cache in use") == acts["kv-cache"]
    assert red("gpu-utilization", "Free memory") == rules["GpuMemoryLow"]
    assert red("cost-tracking", cost) == rules["CostPerMillionTokensHigh"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "use vllm:kv_cache_usage_perc"),
        ("model_name=~", "model=~", "has no label 'model'"),
        ("$model", "$modell", "variable $modell"),
    ],
)
def test_a_dead_name_is_caught(tmp_path: Path, before: str, after: str, said: str) -> None:
    """What a rename upstream does to a dashboard is told with the panel and what to use."""
    path = tmp_path / "board.json"
    path.write_text((HOME / "dashboards/vllm-metrics.json").read_text().replace(before, after))

    lines = [str(one) for one in lint(read_queries([path]), METRICS, RECORDED)]

    assert any("panel 'KV cache in use'" in line and said in line for line in lines)


def test_a_dead_value_is_caught(tmp_path: Path) -> None:
    """An outcome that the router never has is told with those that it has."""
    path = tmp_path / "board.json"
    text = (HOME / "dashboards/router.json").read_text()
    path.write_text(text.replace("ok|client_gone", "okay|client_gone"))

    lines = [str(one) for one in lint(read_queries([path]), METRICS, RECORDED)]

    assert any("'Share of bad requests'" in line and "never 'okay'" in line for line in lines)


def test_a_panel_without_its_page_is_caught() -> None:
    """A panel that nobody can act on is named."""
    board = json.loads(json.dumps(BOARDS["router"]))
    next(panels(board))["links"] = []

    assert amiss(board) == ["Requests by outcome: no link to a page of docs/runbooks/"]


@pytest.mark.full
@pytest.mark.local
def test_every_query_is_answered_under_load() -> None:
    """The local platform, four engines under load: no query of ours returns nothing unexplained."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/ask_dashboards.py"],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=420,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_machine_that_leaves_is_seen_as_the_alert_sees_it() -> None:
    """The panel beside SpotNodeLeaving asks what that asks: cordoned nodes, Karpenter's taint."""
    alert = next(q for q in read_queries([HOME / "rules"]) if q.name == "SpotNodeLeaving")
    asked = next(
        panel["targets"][0]["expr"]
        for panel in panels(BOARDS["autoscaling"])
        if panel["title"] == "Machines that take no pods"
    )
    assert asked in alert.promql
    assert 'kube_node_spec_taint{key="karpenter.sh/disrupted"}' in asked
