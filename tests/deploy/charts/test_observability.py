"""What the observability chart makes of platform/observability: all of it, unchanged."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHARTS, Object, every_case, only, render, selects
from platform_tools import ROOT, need

_WATCHED = ROOT / "platform/observability"
_TIMEOUT_S = 60
_DISKS = {"Prometheus", "Alertmanager", "StatefulSet"}


def _of(objects: list[Object], kind: str) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def test_every_file_of_rules_is_there_as_it_is(tmp_path: Path) -> None:
    """What promtool plays is what is loaded: templates of alerts are left to Prometheus."""
    rules = _of(render("observability"), "PrometheusRule")
    files = {path.stem: path for path in _WATCHED.glob("rules/*.yaml")}
    assert rules.keys() == files.keys()
    for name, path in files.items():
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert rules[name]["spec"] == found
        again = tmp_path / f"{name}.yaml"
        again.write_text(yaml.safe_dump(rules[name]["spec"]), encoding="utf-8")
        subprocess.run(
            [need("promtool"), "check", "rules", str(again)], check=True, timeout=_TIMEOUT_S
        )


@pytest.mark.parametrize("layers", [(), ("dev",), ("prod",)], ids=str)
def test_alerts_are_about_what_is_scraped(layers: tuple[str, ...]) -> None:
    """An alert that waits for a job which this cluster has not would fire for ever."""
    objects = render("observability", *layers)
    # Engines and routers bring their monitors themselves.
    scraped = {"engine", "router", *_of(objects, "ServiceMonitor")}
    rules = _of(objects, "PrometheusRule")
    waited = {
        job
        for one in rules.values()
        for group in one["spec"]["groups"]
        for rule in group["rules"]
        for job in re.findall(r'absent\(up\{job="([\w-]+)"\}\)', rule["expr"])
    }
    assert "engine" in waited
    assert waited <= scraped
    assert ("gpu" in rules) == ("dcgm" in scraped)
    assert ("cost" in rules) == ("opencost" in scraped)


def test_every_dashboard_is_there_as_it_is() -> None:
    """A ConfigMap each, with the label that Grafana's sidecar looks for."""
    found = {
        name.removeprefix("dashboard-"): one
        for name, one in _of(render("observability"), "ConfigMap").items()
        if name.startswith("dashboard-")
    }
    files = {path.stem: path for path in _WATCHED.glob("dashboards/*.json")}
    assert found.keys() == files.keys()
    for name, path in files.items():
        assert json.loads(found[name]["data"][path.name]) == json.loads(path.read_text("utf-8"))
        assert found[name]["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_alertmanager_is_there_where_it_has_a_configuration() -> None:
    """Without a file it would start with an empty one, and nobody would hear of anything."""
    objects = render("observability")
    file = _WATCHED / "alertmanager.yaml"
    made = _of(objects, "Alertmanager")
    assert bool(made) == file.is_file()
    prometheus = only(objects, "Prometheus")["spec"]
    assert ("alerting" in prometheus) == bool(made)
    for one in made.values():
        secret = only(objects, "Secret", one["spec"]["configSecret"])
        found = yaml.safe_load(secret["stringData"]["alertmanager.yaml"])
        assert found["route"] == yaml.safe_load(file.read_text(encoding="utf-8"))["route"]
        (receivers,) = one["spec"]["secrets"]
        text = secret["stringData"]["alertmanager.yaml"]
        # Where the operator mounts a Secret of that name.
        assert text.count("/etc/alertmanager/secrets/") == text.count(
            f"/etc/alertmanager/secrets/{receivers}/"
        )


def test_without_rules_nothing_is_made(tmp_path: Path) -> None:
    """A chart that was copied without its link would install a Prometheus that never speaks."""
    copy = tmp_path / "observability"
    shutil.copytree(CHARTS["observability"], copy, symlinks=True)
    (copy / "files/observability").unlink()
    done = subprocess.run(
        [need("helm"), "template", "observability", str(copy), "--kube-version=1.35.0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode != 0
    assert "rule there-are-rules: " in done.stderr


def test_monitors_give_the_labels_that_queries_use() -> None:
    """metrics.yaml lists them for each job; `instance` is Prometheus' own."""
    metrics: dict[str, Any] = yaml.safe_load((_WATCHED / "metrics.yaml").read_text("utf-8"))
    monitors = _of(render("observability"), "ServiceMonitor")
    assert monitors.keys() == {"dcgm", "kube-state-metrics", "keda", "opencost"}
    for name, one in monitors.items():
        (endpoint,) = one["spec"]["endpoints"]
        given = [*endpoint["relabelings"], *endpoint.get("metricRelabelings", [])]
        assert given[0] == {"targetLabel": "job", "replacement": name}
        labels = {"instance", *(step["targetLabel"] for step in given if "targetLabel" in step)}
        assert labels == set(metrics["jobs"][name]["labels"])


def test_of_opencost_the_price_alone_is_kept() -> None:
    """It exports kube-state-metrics' series once more, and sums over them would double."""
    (endpoint,) = _of(render("observability"), "ServiceMonitor")["opencost"]["spec"]["endpoints"]
    assert endpoint["metricRelabelings"] == [
        {"action": "keep", "sourceLabels": ["__name__"], "regex": "node_total_hourly_cost"}
    ]


def test_own_labels_of_exporters_are_kept() -> None:
    """`pod` is the pod that a series is about, and not the exporter's own."""
    monitors = _of(render("observability"), "ServiceMonitor")
    for name in ("dcgm", "kube-state-metrics", "opencost"):
        assert monitors[name]["spec"]["endpoints"][0]["honorLabels"] is True


@pytest.mark.parametrize("chart", ["vllm", "router", "chat"])
def test_prometheus_finds_monitors_of_other_charts(chart: str) -> None:
    """Every chart brings its own, in its own namespace, and lets this one's pods in."""
    spec = only(render("observability"), "Prometheus")["spec"]
    for kind in ("serviceMonitor", "podMonitor", "rule"):
        assert spec[f"{kind}Selector"] == spec[f"{kind}NamespaceSelector"] == {}
    pod = {"app.kubernetes.io/name": "prometheus"}
    rules = only(render(chart), "NetworkPolicy")["spec"]["ingress"]
    assert any(
        selects(peer["podSelector"], pod)
        and peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        == "observability"
        for rule in rules
        for peer in rule["from"]
        if "namespaceSelector" in peer and "podSelector" in peer
    )


def test_prometheus_only_reads() -> None:
    """It finds targets and changes nothing."""
    for rule in only(render("observability"), "ClusterRole")["rules"]:
        assert rule["verbs"] == ["get", "list", "watch"]
        assert "secrets" not in rule["resources"]
        assert "*" not in [*rule["apiGroups"], *rule["resources"]]


def test_operated_pods_have_no_rights() -> None:
    """The operator passes these on to the pods that it makes."""
    for one in render("observability"):
        if one["kind"] in {"Prometheus", "Alertmanager"}:
            assert one["spec"]["securityContext"]["runAsNonRoot"] is True
            assert one["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert "memory" in one["spec"]["resources"]["limits"]
            assert ":v" in one["spec"]["image"]


def test_series_are_deleted_before_the_disk_is_full() -> None:
    """A full disk ends Prometheus, and with it every alert."""
    spec = only(render("observability"), "Prometheus")["spec"]
    disk = spec["storage"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"]
    assert int(spec["retentionSize"].removesuffix("GiB")) < int(disk.removesuffix("Gi"))


@pytest.mark.parametrize("chart", ["observability", "cache"])
def test_disks_are_of_the_class_that_the_cluster_has(chart: str) -> None:
    """The EBS add-on makes a default StorageClass; one of another name would leave pods pending."""
    cases = [layers for name, layers in every_case() if name == chart]
    specs = [
        one["spec"] for layers in cases for one in render(chart, *layers) if one["kind"] in _DISKS
    ]
    assert specs
    assert "storageClassName" not in json.dumps(specs)
    assert "storageClassName" in json.dumps(
        [
            render("observability", change={who: {"storageClassName": "fast"}})
            for who in ("prometheus", "alertmanager")
        ]
    )


def test_silences_outlive_a_restart() -> None:
    """Without a volume a silence of a game day ends with the pods, unless it is not wanted."""
    kept = only(render("observability"), "Alertmanager")["spec"]["storage"]
    assert kept["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert "storage" not in only(render("observability", "dev"), "Alertmanager")["spec"]


def test_samples_are_sent_to_the_workspace_signed() -> None:
    """Prod writes to Amazon Managed Prometheus by the ServiceAccount's role, and holds no key."""
    (there,) = only(render("observability", "prod"), "Prometheus")["spec"]["remoteWrite"]
    region = there["sigv4"]["region"]
    assert there["sigv4"].keys() == {"region"}
    assert there["url"].startswith(f"https://aps-workspaces.{region}.amazonaws.com/workspaces/")
    assert there["url"].endswith("/api/v1/remote_write")
    assert "remoteWrite" not in only(render("observability"), "Prometheus")["spec"]
    # With Pod Identity an annotation of IRSA would come first, and name another account's role.
    account = only(render("observability", "prod"), "ServiceAccount")
    assert "annotations" not in account["metadata"]


def test_whoever_speaks_to_loki_may_and_nobody_else() -> None:
    """Loki signs nobody in: a policy lets in those whom Terraform tells its address."""
    policy = only(render("observability"), "NetworkPolicy", "observability-loki")
    spec, port = policy["spec"], yaml.safe_load((_WATCHED / "loki.yaml").read_text())["server"]
    assert policy["metadata"]["namespace"] == "observability"
    assert spec["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "loki"}}
    assert spec["policyTypes"] == ["Ingress"]
    let_in: dict[str, list[int]] = {}
    for rule in spec["ingress"]:
        for peer in rule["from"]:
            # Of this namespace alone, by name.
            assert peer.keys() == {"podSelector"}
            (name,) = peer["podSelector"]["matchLabels"].values()
            let_in[name] = [one["port"] for one in rule.get("ports", [])]
    # No port said: all, of its own pods.
    assert let_in.pop("loki") == []
    assert let_in == {name: [port["http_listen_port"]] for name in _callers_of_loki()}
    assert not [
        one
        for one in render("observability", change={"network": {"enabled": False}})
        if one["kind"] == "NetworkPolicy"
    ]


def _callers_of_loki() -> list[str]:
    """Return whom modules/observability gives Loki's address."""
    text = (ROOT / "platform/terraform/modules/observability/main.tf").read_text(encoding="utf-8")
    found: dict[str, None] = {}
    for before in text.split("http://loki.observability.svc:3100")[:-1]:
        # The next block above that is a release of its own, or Grafana in the stack's.
        found[re.findall(r"^    ([a-z][a-z-]*) += \{$", before, re.MULTILINE)[-1]] = None
    return list(found)
