"""Argo CD's manifests: what Argo CD takes, of charts that render so, in an order that works."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from charts import Object
from gitops import ENVIRONMENTS, FOLDER, OURS, applications, read, rendered
from kube_schemas import problems
from platform_tools import ROOT

each_environment = pytest.mark.parametrize("environment", ENVIRONMENTS)


def _wave(application: Object) -> int:
    return int(application["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def _charts(environment: str) -> dict[str, list[Object]]:
    return {name: rendered(name, one, {}) for name, one in applications(environment).items()}


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.stem)
def test_argo_cd_takes_it(path: Path) -> None:
    """Each field is one of the schemas of Argo CD's own resources."""
    for one in read(path):
        assert problems(one, "1.35") == []
        assert one["metadata"]["namespace"] == "argocd"


@each_environment
def test_root_makes_its_environment(environment: str) -> None:
    """One object is applied by hand, and it names the file with the others."""
    (root,) = read(FOLDER / f"roots/{environment}.yaml")
    source = root["spec"]["source"]
    assert (ROOT / source["path"] / source["directory"]["include"]).is_file()
    assert source["directory"]["include"] == f"{environment}.yaml"
    sources = [one["spec"]["source"] for one in applications(environment).values()]
    assert {one["targetRevision"] for one in sources} == {source["targetRevision"]}
    assert {one["repoURL"] for one in sources} == {OURS}


def test_every_environment_is_looked_at() -> None:
    """A file beside these would be installed and checked by nobody."""
    for folder in ("roots", "environments"):
        assert {path.stem for path in (FOLDER / folder).iterdir()} == set(ENVIRONMENTS)


@each_environment
def test_every_chart_renders_as_it_is_named(environment: str) -> None:
    """A layer that is gone, or a rule that is broken, would show on the cluster only."""
    found = _charts(environment)
    assert found.keys() == {
        *("observability", "cache", "router", "chat-fast", "chat-reasoning", "chat", "faultload")
    }
    assert all(found.values())


@each_environment
def test_what_others_need_comes_first(environment: str) -> None:
    """A cache, a door, engines, a page, before what breaks them; operators are there before."""
    waves = {name: _wave(one) for name, one in applications(environment).items()}
    order = ["operators", "observability", "cache", "router", "engines", "chat", "faultload"]
    of = {"chat-fast": "engines", "chat-reasoning": "engines"}
    assert waves == {name: order.index(of.get(name, name)) for name in waves}


@each_environment
def test_nothing_heals_itself_while_it_is_broken_on_purpose(environment: str) -> None:
    """With selfHeal a fault is taken back within seconds, and the run proves nothing."""
    for one in [
        *applications(environment).values(),
        *read(FOLDER / f"roots/{environment}.yaml"),
    ]:
        automated = one["spec"].get("syncPolicy", {}).get("automated")
        assert automated is None or automated["selfHeal"] is False


def test_production_waits_for_a_person() -> None:
    """It follows a release, syncs when it is told, lets no fault in, and starts no game day."""
    found = applications("prod")
    for one in [*found.values(), *read(FOLDER / "roots/prod.yaml")]:
        assert "automated" not in one["spec"].get("syncPolicy", {})
        assert one["spec"]["source"]["targetRevision"].startswith("v")
    assert "opt-in" not in yaml.safe_dump_all(found.values())
    objects = rendered("faultload", found["faultload"], {})
    assert not [one for one in objects if one["kind"] == "CronJob"]
    (config,) = [one for one in objects if one["kind"] == "ConfigMap"]
    assert yaml.safe_load(config["data"]["target.yaml"])["production"] is True


@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_where_faults_are_let_in_the_namespace_says_so(environment: str) -> None:
    """Without the label every run would be refused."""
    labels = {
        key: value
        for one in applications(environment).values()
        if one["spec"]["destination"]["namespace"] == "inference"
        for key, value in one["spec"]["syncPolicy"]
        .get("managedNamespaceMetadata", {})
        .get("labels", {})
        .items()
    }
    assert labels["faultload.dev/opt-in"] == "true"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_project_allows_what_is_installed() -> None:
    """And no more: no other repository, namespace, or kind of the whole cluster."""
    (project,) = read(FOLDER / "project.yaml")
    spec = project["spec"]
    assert "*" not in yaml.safe_dump(spec)
    assert spec["sourceRepos"] == [OURS]
    # The roots' own objects, and the namespaces that `CreateNamespace` makes.
    places, kinds = {"argocd"}, {("", "Namespace")}
    for environment in ENVIRONMENTS:
        for application in applications(environment).values():
            assert application["spec"]["project"] == project["metadata"]["name"]
            places.add(application["spec"]["destination"]["namespace"])
        for objects in _charts(environment).values():
            for one in objects:
                if "namespace" in one["metadata"]:
                    places.add(one["metadata"]["namespace"])
                else:
                    kinds.add((one["apiVersion"].rpartition("/")[0], one["kind"]))
    allowed = [(one["group"], one["kind"]) for one in spec["clusterResourceWhitelist"]]
    assert sorted(allowed) == sorted(kinds)
    assert sorted(one["namespace"] for one in spec["destinations"]) == sorted(places)
