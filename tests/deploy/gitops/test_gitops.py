"""Argo CD's manifests: what Argo CD takes, of charts that render so, in an order that works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHARTS, Object, render
from kube_schemas import problems
from platform_tools import ROOT

_FOLDER = ROOT / "platform/gitops"
_OURS = "https://github.com/example/faultload.git"
_ENVIRONMENTS = sorted(path.stem for path in _FOLDER.glob("environments/*.yaml"))
each_environment = pytest.mark.parametrize("environment", _ENVIRONMENTS)


def _read(path: Path) -> list[Object]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _applications(environment: str) -> dict[str, Object]:
    found = _read(_FOLDER / f"environments/{environment}.yaml")
    assert {one["kind"] for one in found} == {"Application"}
    return {one["metadata"]["name"]: one for one in found}


def _wave(application: Object) -> int:
    return int(application["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def _rendered(name: str, application: Object) -> list[Object]:
    """Render a chart of ours as Argo CD would: with its layers, then its parameters."""
    source = application["spec"]["source"]
    folder = ROOT / source["path"]
    chart = next(chart for chart, path in CHARTS.items() if path == folder)
    helm = source.get("helm", {})
    layers = [Path(file).stem for file in helm.get("valueFiles", [])]
    change: dict[str, Any] = {}
    for parameter in helm.get("parameters", []):
        *outer, last = parameter["name"].split(".")
        inner = change
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = yaml.safe_load(parameter["value"])
    return render(chart, *layers, change=change, release=name)


def _charts(environment: str) -> Iterator[tuple[str, Object, list[Object]]]:
    for name, one in _applications(environment).items():
        if one["spec"]["source"]["repoURL"] == _OURS:
            yield name, one, _rendered(name, one)


@pytest.mark.parametrize("path", sorted(_FOLDER.rglob("*.yaml")), ids=lambda path: path.stem)
def test_argo_cd_takes_it(path: Path) -> None:
    """Each field is one of the schemas of Argo CD's own resources."""
    for one in _read(path):
        assert problems(one, "1.35") == []
        assert one["metadata"]["namespace"] == "argocd"


@each_environment
def test_root_makes_its_environment(environment: str) -> None:
    """One object is applied by hand, and it names the file with the others."""
    (root,) = _read(_FOLDER / f"roots/{environment}.yaml")
    source = root["spec"]["source"]
    assert (ROOT / source["path"] / source["directory"]["include"]).is_file()
    assert source["directory"]["include"] == f"{environment}.yaml"
    revisions = {
        one["spec"]["source"]["targetRevision"]
        for one in _applications(environment).values()
        if one["spec"]["source"]["repoURL"] == _OURS
    }
    assert revisions == {source["targetRevision"]}


@each_environment
def test_every_chart_renders_as_it_is_named(environment: str) -> None:
    """A layer that is gone, or a rule that is broken, would show on the cluster only."""
    found = {name: objects for name, _, objects in _charts(environment)}
    assert found.keys() == {
        *("observability", "cache", "router", "chat-fast", "chat-reasoning", "chat", "faultload")
    }
    assert all(found.values())


@each_environment
def test_two_releases_make_no_object_twice(environment: str) -> None:
    """Two Applications that own one object take it from each other for ever."""
    owners: dict[tuple[str, str, str], str] = {}
    for name, application, objects in _charts(environment):
        for one in objects:
            namespace = one["metadata"].get("namespace", "")
            key = (one["kind"], namespace, one["metadata"]["name"])
            assert key not in owners, f"{key}: {owners.get(key)} and {name}"
            owners[key] = name
            if one["kind"] not in {"Role", "RoleBinding"}:
                assert namespace in {"", application["spec"]["destination"]["namespace"]}


@each_environment
def test_what_others_need_comes_first(environment: str) -> None:
    """Definitions before objects, and a cache, a door, engines, a page, before what breaks them."""
    waves = {name: _wave(one) for name, one in _applications(environment).items()}
    order = ["operators", "observability", "cache", "router", "engines", "chat", "faultload"]
    of = {"keda": "operators", "prometheus-operator": "operators"}
    of |= {"chat-fast": "engines", "chat-reasoning": "engines"}
    assert waves == {name: order.index(of.get(name, name)) for name in waves}


@each_environment
def test_nothing_heals_itself_while_it_is_broken_on_purpose(environment: str) -> None:
    """With selfHeal a fault is taken back within seconds, and the run proves nothing."""
    for one in [
        *_applications(environment).values(),
        *_read(_FOLDER / f"roots/{environment}.yaml"),
    ]:
        automated = one["spec"].get("syncPolicy", {}).get("automated")
        assert automated is None or automated["selfHeal"] is False


def test_production_waits_for_a_person() -> None:
    """It follows a release, syncs when it is told, lets no fault in, and starts no game day."""
    found = _applications("prod")
    for one in [*found.values(), *_read(_FOLDER / "roots/prod.yaml")]:
        assert "automated" not in one["spec"].get("syncPolicy", {})
        assert one["spec"]["source"]["targetRevision"].startswith("v")
    assert "opt-in" not in yaml.safe_dump_all(found.values())
    objects = _rendered("faultload", found["faultload"])
    assert not [one for one in objects if one["kind"] == "CronJob"]
    (config,) = [one for one in objects if one["kind"] == "ConfigMap"]
    assert yaml.safe_load(config["data"]["target.yaml"])["production"] is True


@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_where_faults_are_let_in_the_namespace_says_so(environment: str) -> None:
    """Without the label every run would be refused."""
    labels = {
        key: value
        for one in _applications(environment).values()
        if one["spec"]["destination"]["namespace"] == "inference"
        for key, value in one["spec"]["syncPolicy"]
        .get("managedNamespaceMetadata", {})
        .get("labels", {})
        .items()
    }
    assert labels["faultload.dev/opt-in"] == "true"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@each_environment
def test_operators_are_those_that_objects_are_checked_against(environment: str) -> None:
    """The schemas of scripts/platform_tools.sh are of the same releases."""
    tools = (ROOT / "scripts/platform_tools.sh").read_text(encoding="utf-8")
    for name in ("keda", "prometheus-operator"):
        source = _applications(environment)[name]["spec"]["source"]
        module = source["repoURL"].removeprefix("https://").removesuffix(".git")
        version = re.search(rf"^{re.escape(module)}(?:/v\d+)? (\S+)", tools, re.MULTILINE)
        assert version
        assert source["targetRevision"] == version[1]
        for image in source["kustomize"].get("images", []):
            assert image.endswith(f":{version[1].removeprefix('v')}")


@each_environment
def test_project_allows_what_is_installed(environment: str) -> None:
    """And no more: no other repository, namespace, or kind of the whole cluster."""
    (project,) = _read(_FOLDER / "project.yaml")
    spec = project["spec"]
    places = {one["namespace"] for one in spec["destinations"]}
    kinds = {(one["group"], one["kind"]) for one in spec["clusterResourceWhitelist"]}
    assert "*" not in yaml.safe_dump(spec)
    for application in _applications(environment).values():
        assert application["spec"]["project"] == project["metadata"]["name"]
        assert application["spec"]["source"]["repoURL"] in spec["sourceRepos"]
        assert application["spec"]["destination"]["namespace"] in places
    for _, _, objects in _charts(environment):
        for one in objects:
            if "namespace" not in one["metadata"]:
                group = one["apiVersion"].rpartition("/")[0]
                assert (group, one["kind"]) in kinds
            else:
                assert one["metadata"]["namespace"] in places
