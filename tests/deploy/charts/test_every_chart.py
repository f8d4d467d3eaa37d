"""What holds for every chart, with its defaults and with each of its values files."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from charts import (
    CHARTS,
    NAMESPACES,
    Object,
    containers,
    every_case,
    lint,
    operated_pods,
    pod_templates,
    refusal,
    render,
    selects,
)
from kube_schemas import VERSIONS, problems

_CLUSTER_WIDE = set(
    "ClusterRole ClusterRoleBinding Namespace PersistentVolume PriorityClass StorageClass".split()
)
_LABELS = ("name", "instance", "component", "part-of", "version", "managed-by")
_CASES = every_case()

each_case = pytest.mark.parametrize(
    ("chart", "layers"), _CASES, ids=["-".join([chart, *layers]) for chart, layers in _CASES]
)
each_chart = pytest.mark.parametrize("chart", CHARTS)


def _where(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


@each_case
def test_lint_is_silent(chart: str, layers: tuple[str, ...]) -> None:
    """Helm's own rules, warnings included."""
    assert lint(chart, *layers) == ""


@each_case
def test_every_object_is_one_that_kubernetes_takes(chart: str, layers: tuple[str, ...]) -> None:
    """Each field is one of the schema: a misspelt one would be dropped without a word."""
    found = {
        f"{version} {_where(one)}: {text}"
        for one in render(chart, *layers)
        for version in VERSIONS
        for text in problems(one, version)
    }
    assert sorted(found) == []


@each_case
def test_no_object_is_there_twice(chart: str, layers: tuple[str, ...]) -> None:
    """The second would overwrite the first."""
    seen = Counter((one["apiVersion"], _where(one)) for one in render(chart, *layers))
    assert [name for name, count in seen.items() if count > 1] == []


@each_case
def test_namespaces_are_said(chart: str, layers: tuple[str, ...]) -> None:
    """What `helm template | kubectl apply` makes lands where `helm install` puts it."""
    wanted = NAMESPACES.get(chart, "inference")
    for one in render(chart, *layers):
        if one["kind"] in _CLUSTER_WIDE:
            assert "namespace" not in one["metadata"], _where(one)
        else:
            assert one["metadata"].get("namespace"), _where(one)
    assert any(one["metadata"].get("namespace") == wanted for one in render(chart, *layers))


@each_case
def test_labels_say_what_it_belongs_to(chart: str, layers: tuple[str, ...]) -> None:
    """Experiments, budgets and dashboards find objects by these labels, and people do."""
    for one in render(chart, *layers):
        labels = one["metadata"].get("labels", {})
        missing = [name for name in _LABELS if f"app.kubernetes.io/{name}" not in labels]
        assert missing == [], _where(one)


@each_case
def test_images_are_pinned(chart: str, layers: tuple[str, ...]) -> None:
    """What starts tomorrow is what was tested today."""
    for where, template in pod_templates(render(chart, *layers)):
        for container in containers(template):
            tag = re.search(r"(@sha256:[0-9a-f]{64}|:[\w][\w.-]*)$", container["image"])
            assert tag, f"{where}: {container['image']}"
            assert tag[1] != ":latest", f"{where}: {container['image']}"


@each_case
def test_resources_are_set(chart: str, layers: tuple[str, ...]) -> None:
    """Without requests a pod is put anywhere; without a limit of memory it takes its node along."""
    for where, template in pod_templates(render(chart, *layers)):
        for container in containers(template):
            resources = container.get("resources", {})
            assert {"cpu", "memory"} <= resources.get("requests", {}).keys(), where
            assert "memory" in resources.get("limits", {}), where


@each_case
def test_containers_have_no_rights(chart: str, layers: tuple[str, ...]) -> None:
    """Who breaks into a container finds no root, nothing to write to and no way up."""
    for where, template in pod_templates(render(chart, *layers)):
        pod = template["spec"].get("securityContext", {})
        assert pod.get("runAsNonRoot") is True, where
        assert pod.get("seccompProfile") == {"type": "RuntimeDefault"}, where
        assert not any(template["spec"].get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        for container in containers(template):
            mine = container.get("securityContext", {})
            assert mine.get("allowPrivilegeEscalation") is False, where
            assert mine.get("readOnlyRootFilesystem") is True, where
            assert mine.get("capabilities") == {"drop": ["ALL"]}, where


@each_case
def test_pods_spread_over_nodes_that_take_them(chart: str, layers: tuple[str, ...]) -> None:
    """A node whose taints keep a pod away counts as empty otherwise, and the next one must wait."""
    for where, template in pod_templates(render(chart, *layers)):
        for spread in template["spec"].get("topologySpreadConstraints", []):
            assert spread.get("nodeTaintsPolicy") == "Honor", where


@each_case
def test_region_is_said_to_boto3(chart: str, layers: tuple[str, ...]) -> None:
    """boto3 reads AWS_DEFAULT_REGION alone, and EKS adds it only where neither of both is there."""
    for where, template in pod_templates(render(chart, *layers)):
        for container in containers(template):
            said = {one["name"]: one.get("value") for one in container.get("env", [])}
            assert said.get("AWS_REGION") == said.get("AWS_DEFAULT_REGION"), where


@each_case
def test_tokens_of_the_api_are_asked_for(chart: str, layers: tuple[str, ...]) -> None:
    """A pod has a token of the API only where its ServiceAccount is bound to a role."""
    objects = render(chart, *layers)
    bound = {
        subject["name"]
        for one in objects
        if one["kind"] in {"RoleBinding", "ClusterRoleBinding"}
        for subject in one.get("subjects", [])
    }
    for where, template in pod_templates(objects):
        spec = template["spec"]
        mounted = spec.get("automountServiceAccountToken", True)
        assert not mounted or spec.get("serviceAccountName") in bound, where


@each_case
def test_selectors_find_something(chart: str, layers: tuple[str, ...]) -> None:
    """What selects nothing (Service, budget, policy, monitor) does nothing, and nobody says so."""
    objects = render(chart, *layers)
    pods = [template["metadata"]["labels"] for _, template in pod_templates(objects)]
    pods += operated_pods(objects)
    services = [one["metadata"]["labels"] for one in objects if one["kind"] == "Service"]
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "Service" and "selector" in spec:
            selector, found = {"matchLabels": spec["selector"]}, pods
        elif one["kind"] in {"PodDisruptionBudget", "PodMonitor"}:
            selector, found = spec["selector"], pods
        elif one["kind"] == "NetworkPolicy":
            selector, found = spec["podSelector"], pods
        elif one["kind"] == "ServiceMonitor" and "namespaceSelector" not in spec:
            selector, found = spec["selector"], services
        else:
            continue
        assert any(selects(selector, labels) for labels in found), _where(one)


@each_case
def test_every_pod_is_behind_a_policy(chart: str, layers: tuple[str, ...]) -> None:
    """Pods that no NetworkPolicy selects are open to every pod of the cluster, both ways."""
    objects = render(chart, *layers)
    policies = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
    for where, template in pod_templates(objects):
        labels = template["metadata"]["labels"]
        types = {
            kind
            for policy in policies
            if selects(policy["podSelector"], labels)
            for kind in policy["policyTypes"]
        }
        assert types == {"Ingress", "Egress"}, where


@each_case
def test_liveness_waits_for_the_start(chart: str, layers: tuple[str, ...]) -> None:
    """Without a startup probe, liveness kills what takes long to start, again and again."""
    for where, template in pod_templates(render(chart, *layers)):
        for container in template["spec"]["containers"]:
            if "livenessProbe" in container:
                assert "startupProbe" in container, where


@each_chart
def test_values_are_typed(chart: str) -> None:
    """A misspelt value would be ignored, and the default taken, without a word."""
    assert "misspelt" in refusal(chart, change={"misspelt": 1})
