"""What Terraform installs beside our charts fits them: labels, namespaces, configurations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WATCHED = ROOT / "platform/observability"
MODULE = ROOT / "platform/terraform/modules/observability"
TEXT = (MODULE / "main.tf").read_text()
VALUES: dict[str, Any] = yaml.safe_load(
    (ROOT / "platform/charts/observability/values.yaml").read_text()
)
METRICS: dict[str, Any] = yaml.safe_load((WATCHED / "metrics.yaml").read_text())


def _release(name: str) -> str:
    """Return the text of one entry of `releases`."""
    return re.split(
        r"^    \}$", TEXT.split(f"\n    {name} = {{\n")[1], maxsplit=1, flags=re.MULTILINE
    )[0]


def _exported(label: str) -> str:
    """Return what kube-state-metrics 2 calls a label: internal/store/utils.go, labelName."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", label)
    return "label_" + re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def _allowed() -> list[str]:
    (labels,) = re.findall(r'"nodes=\[(.+)\]"', TEXT)
    return str(labels).split(",")


def test_a_capital_letter_begins_a_word() -> None:
    """The label of managed node groups is the one with a capital letter."""
    assert _exported("eks.amazonaws.com/capacityType") == "label_eks_amazonaws_com_capacity_type"
    assert _exported("karpenter.sh/capacity-type") == "label_karpenter_sh_capacity_type"


def test_labels_of_nodes_that_are_asked_for_are_exported() -> None:
    """kube-state-metrics drops what it was not told to allow, and a join on it finds nothing."""
    (series,) = (one for one in METRICS["series"] if one["name"] == "kube_node_labels")
    asked = {*series["labels"], *series["only_on_kubernetes"]} - {"node"}

    assert asked <= {_exported(label) for label in _allowed()}
    page = (ROOT / "docs/deploy.md").read_text()
    (listed,) = re.findall(r"--metric-labels-allowlist=nodes=\[(.+?)\]", page)
    assert {_exported(label) for label in listed.split(",")} == asked


@pytest.mark.parametrize("monitor", sorted(VALUES["monitors"]))
def test_whoever_is_scraped_is_scraped_once(monitor: str) -> None:
    """Our chart's monitors give the labels; a second one of the operator's chart doubles sums."""
    off = {
        "dcgm": ("dcgm-exporter", "serviceMonitor = { enabled = false }"),
        "kubeStateMetrics": ("", "prometheus = { monitor = { enabled = false } }"),
        "keda": ("keda", "prometheus = { operator = { enabled = true } }"),
        "opencost": ("opencost", ""),  # off by default
    }
    name, said = off[monitor]
    text = _release(name) if name else TEXT
    assert said in re.sub(r" +", " ", text)
    assert not re.search(r"serviceMonitor += \{ enabled = true", TEXT)


@pytest.mark.parametrize("monitor", sorted(VALUES["monitors"]))
def test_monitors_look_where_it_is_installed(monitor: str) -> None:
    """A ServiceMonitor of another namespace finds no Service, and says nothing."""
    names = {"dcgm": "dcgm-exporter", "keda": "keda", "opencost": "opencost"}
    namespace = "observability"
    if monitor in names:
        found = re.search(r'namespace\s+= "([\w-]+)"', _release(names[monitor]).split("values")[0])
        namespace = found[1] if found else namespace
    assert VALUES["monitors"][monitor]["namespace"] == namespace


def test_grafana_finds_dashboards_and_prometheus() -> None:
    """Its sidecar looks for our label, its data source is what our operator's objects make."""
    label = VALUES["dashboards"]
    assert f'label = "{label["label"]}", labelValue = "{label["value"]}"' in TEXT
    assert "http://prometheus-operated.observability.svc:9090" in TEXT
    assert "http://alertmanager-operated.observability.svc:9093" in TEXT


def test_loki_and_alloy_have_one_configuration() -> None:
    """What is checked here is what runs there: Terraform reads the files and repeats none of it."""
    assert 'templatefile("${local.watched}/loki.yaml"' in TEXT
    assert 'file("${local.watched}/logs.alloy")' in TEXT
    assert (MODULE / "../../../observability").resolve() == WATCHED
    filled = set(re.findall(r"\$\{(\w+)\}", (WATCHED / "loki.yaml").read_text()))
    given = TEXT.split("templatefile(")[1].split("}))")[0]
    assert filled == set(re.findall(r"^    (\w+)\s+= ", given, re.MULTILINE))
    assert set(re.findall(r'sys.env\("(\w+)"\)', (WATCHED / "logs.alloy").read_text())) == set(
        re.findall(r'\{ name = "(\w+)", value', _release("alloy"))
    )


def test_loki_writes_where_it_may() -> None:
    """The chart's root is read-only, and its volume is at /var/loki."""
    text = (WATCHED / "loki.yaml").read_text()
    paths = re.findall(r"^\s*\w+: (/\S+)$", text, re.MULTILINE)
    assert len(paths) == 5
    assert all(path.startswith("/var/loki") for path in paths)
