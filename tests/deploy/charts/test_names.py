"""Rules, runbooks and searches call things what our charts call them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import NAMESPACES, Object, render
from platform_tools import ROOT

_WATCHED = ROOT / "platform/observability"
_PAGES = sorted((ROOT / "docs/runbooks").glob("*.md"))
_RULES = {
    rule["alert"]: rule["expr"]
    for path in sorted((_WATCHED / "rules").glob("*.yaml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
# Containers of other people's charts that are searched: KEDA's operator.
_OTHERS = {"keda-operator"}


def _tiers() -> set[str]:
    file = yaml.safe_load((_WATCHED / "triggers.yaml").read_text())
    return {one["name"] for one in file["scaledObjects"]}


def _rendered() -> list[Object]:
    """Return what a cluster has: a release of each chart, and engines in all their shapes."""
    engines = [render("vllm"), render("vllm", "single-gpu"), render("vllm", "multi-node")]
    game = [render("faultload"), render("faultload", "staging")]
    return [one for made in [*engines, render("router"), render("cache"), *game] for one in made]


def _pods(node: Any) -> list[dict[str, Any]]:
    """Return every pod template under an object."""
    if isinstance(node, dict):
        own = [node] if "containers" in node.get("spec", {}) else []
        return own + [pod for inner in node.values() for pod in _pods(inner)]
    return [pod for inner in node for pod in _pods(inner)] if isinstance(node, list) else []


def _names(objects: list[Object], kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in objects if one["kind"] == kind}


def _containers(objects: list[Object]) -> set[str]:
    return {
        container["name"]
        for pod in _pods(objects)
        for key in ("containers", "initContainers")
        for container in pod["spec"].get(key, ())
    }


@pytest.mark.parametrize("alert", ["TierDown", "RolloutStuck"])
def test_engines_are_told_by_their_workload(alert: str) -> None:
    """Deployments of releases and of the local platform are taken, others are not."""
    (deployments,) = set(re.findall(r'deployment=~"([^"]+)"', _RULES[alert]))
    local = {
        name
        for file in ROOT.glob("platform/local*.yaml")
        for name in yaml.safe_load(file.read_text()).get("tiers", ())
    }
    objects = _rendered()
    assert {"fast", "reasoning"} <= local
    for name in local | {f"chat-{tier}" for tier in _tiers()}:
        assert re.fullmatch(deployments, name), name
    taken = {one for one in _names(objects, "Deployment") if re.fullmatch(deployments, one)}
    assert taken == {"chat-fast"}


def test_leaders_are_told_from_their_workers() -> None:
    """A LeaderWorkerSet makes a StatefulSet of its name, and one a group: NAME-0, NAME-1."""
    (takes,) = set(re.findall(r'statefulset=~"([^"]+)"', _RULES["TierDown"]))
    (leaves,) = set(re.findall(r'statefulset!~"([^"]+)"', _RULES["TierDown"]))
    objects = _rendered()
    for name in _names(objects, "LeaderWorkerSet"):
        assert re.fullmatch(takes, name)
        assert not re.fullmatch(leaves, name)
        assert re.fullmatch(leaves, f"{name}-0")
    assert not any(re.fullmatch(takes, one) for one in _names(objects, "StatefulSet"))


def test_gpus_are_told_by_their_pods_names() -> None:
    """DCGM knows a pod's name and no label: of each shape the monitor reads the tier from it."""
    (endpoint,) = next(
        one["spec"]["endpoints"]
        for one in render("observability")
        if one["kind"] == "ServiceMonitor" and one["metadata"]["name"] == "dcgm"
    )
    (tier,) = (
        step["regex"] for step in endpoint["metricRelabelings"] if step["targetLabel"] == "tier"
    )
    told = {}
    for layers in [(), ("tensor-parallel",), ("multi-node",)]:
        for one in render("vllm", *layers):
            name = one["metadata"]["name"]
            # Of a Deployment NAME-HASH-ID; of a LeaderWorkerSet NAME-0 leads and NAME-0-1 helps.
            pods = {"Deployment": ["7d4b9c-x2x9z"], "LeaderWorkerSet": ["0", "0-1"]}
            for end in pods.get(one["kind"], ()):
                found = re.fullmatch(tier, f"{name}-{end}")
                told[layers, end] = found[1] if found else None
                assert told[layers, end] == one["metadata"]["labels"]["faultload.dev/tier"]
    assert len(told) == 4


def test_engines_are_told_by_their_container() -> None:
    """Only pods of the vllm chart have a container of the name that pod alerts go by."""
    for alert in ("ReplicaPending", "EngineCrashLooping"):
        assert set(re.findall(r'container="(\w+)"', _RULES[alert])) == {"vllm"}
    for pod in _pods(_rendered()):
        named = {one["name"] for one in pod["spec"]["containers"]}
        engine = pod["metadata"]["labels"]["app.kubernetes.io/component"] == "engine"
        assert ("vllm" in named) == engine


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: path.stem)
def test_pages_name_what_is_there(page: Path) -> None:
    """At night a command is pasted: TIER and POD are filled in, the rest is right as it is."""
    text, objects = page.read_text().replace("TIER", "fast"), _rendered()
    for name in re.findall(r"deployment/([\w-]+)", text):
        assert name in _names(objects, "Deployment")
    scaled = _names(objects, "ScaledObject")
    for name in re.findall(r"scaledobject ([\w-]+)", text):
        assert name in scaled
    for name in re.findall(r"describe hpa ([\w-]+)", text):
        assert name in {f"keda-hpa-{one}" for one in scaled} | _names(
            objects, "HorizontalPodAutoscaler"
        )
    for name in re.findall(r"kubectl [^`]* -c ([\w-]+)", text):
        assert name in _containers(objects)
    for name in re.findall(r"init container `([\w-]+)`", text):
        assert name in _containers(objects)
    labels = {pair for pod in _pods(objects) for pair in pod["metadata"]["labels"].items()}
    for key, value in re.findall(r"-n inference [^`]*-l ([\w./-]+)=([\w-]+)", text):
        assert (key, value) in labels


_SEARCHES = yaml.safe_load((_WATCHED / "logs.yaml").read_text())["searches"]


@pytest.mark.parametrize("search", _SEARCHES, ids=lambda one: one["question"])
def test_searches_ask_for_values_that_there_are(search: dict[str, str]) -> None:
    """A container that no pod has finds nothing, and reads as if nothing had been said."""
    objects = _rendered()
    known = {
        "container": _containers(objects) | _OTHERS,
        "component": {
            pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in _pods(objects)
        },
        "namespace": {"inference", *NAMESPACES.values()},
        "source": {"pod", "event", "kernel"},
    }
    for label, value in re.findall(r'(\w+)="([^"]*)"', search["query"].partition("}")[0]):
        assert value in known[label]
