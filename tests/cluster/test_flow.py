"""The one flow, on a cluster: the files that run on the local platform run here as they are.

The cluster is real and runs no containers, so what users see comes from a local platform: its
router and its Prometheus are the endpoints of the target. A fault hits pods, and no user notices.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import ControlPlane
from kube_objects import kubeconfig_for, list_pods, make_deployment, make_node
from kube_targets import TIER, differences, snapshot, target_spec
from kubelet import Kubelet
from kubernetes import client
from projects import Project, make_project, platform_of

from faultload.record import InjectionStep, RunDirectory
from faultload.targets import KILL_REPLICA
from faultload.targets.kubernetes import rules_for

SHORT = {"warmup_s": 2, "baseline_s": 8, "hold_s": 4, "recovery_s": 4}
TIERS = ("fast", "reasoning")

pytestmark = pytest.mark.usefixtures("controllers")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a local platform left up in it."""
    made = make_project(tmp_path_factory.mktemp("flow"), SHORT)
    done = made.faultload("platform", "up")
    assert done.returncode == 0, done.stderr
    yield made
    assert made.faultload("platform", "down").returncode == 0
    made.is_clean()


@pytest.fixture
def on_cluster(
    project: Project, control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> Iterator[Callable[..., None]]:
    """Engines on the cluster, and a writer of `targets/cluster.yaml`."""
    platform = platform_of(project)
    endpoints = platform.endpoints
    platform.close()

    def write(kubeconfig: Path = control_plane.admin_kubeconfig) -> None:
        spec = target_spec(
            admin,
            kubeconfig,
            namespace,
            inference_url=endpoints.inference_url,
            prometheus_url=endpoints.prometheus_url,
        )
        data = spec.model_dump(mode="json", exclude_defaults=True)
        data |= {"name": "cluster", "phases": SHORT}
        text = yaml.safe_dump(data)
        (project.path / "targets" / "cluster.yaml").write_text(text, encoding="utf-8")

    for number in range(len(TIERS) * 2):
        make_node(admin, f"node-{number}", zone=f"zone-{number % 2}")
    for tier in TIERS:
        make_deployment(admin, namespace, f"engine-{tier}", {"app": "engine", TIER: tier}, 2)
    with Kubelet(admin, namespace):
        yield write


def test_an_experiment_runs_as_it_does_on_the_local_platform(
    project: Project,
    on_cluster: Callable[..., None],
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
) -> None:
    """Same file: a pod goes and is replaced, the record says whom it hit, the lease is given back.

    The harness may do no more than the documented rules for this experiment allow.
    """
    on_cluster(kubeconfig_for(control_plane, namespace, *rules_for([KILL_REPLICA], [namespace])))
    before = {pod.metadata.uid for pod in list_pods(admin, namespace, {"app": "engine"})}

    done = project.faultload("run", "engine/replica-loss", "--target", "cluster")

    # So short a recovery may be too little to tell a pass.
    assert done.returncode in (0, 2), done.stdout + done.stderr
    run = RunDirectory.open(project.run_directory())
    assert run.manifest().target == "cluster"
    entries = run.injections.entries()
    assert entries[-1].step is InjectionStep.VERIFIED_REVERTED
    (victim,) = entries[0].plan["victims"]
    after = {pod.metadata.uid for pod in list_pods(admin, namespace, {"app": "engine"})}
    assert before - after == {victim["uid"]}
    (lease,) = client.CoordinationV1Api(admin).list_namespaced_lease(namespace).items
    assert not lease.spec.holder_identity


def test_a_dry_run_touches_nothing_and_names_the_same_kind_of_victim(
    project: Project, on_cluster: Callable[..., None], admin: client.ApiClient, namespace: str
) -> None:
    """On both targets the file resolves to one ready engine; here it is a pod."""
    on_cluster()
    before = snapshot(admin, namespace)

    said = {
        target: _json(project, "run", "engine/replica-loss", "--dry-run", "--target", target)
        for target in ("local", "cluster")
    }

    victims = {name: run["faults"][0]["victims"][0] for name, run in said.items()}
    assert {v["component"] for v in victims.values()} == {"engine"}
    assert {v["tier"] for v in victims.values()} <= set(TIERS)
    pods = {pod.metadata.name for pod in list_pods(admin, namespace, {"app": "engine"})}
    assert victims["cluster"]["name"] in pods
    assert said["cluster"]["requests"] == said["local"]["requests"]
    assert differences(before, snapshot(admin, namespace)) == []


def test_a_right_that_is_missing_ends_the_run_before_it_begins(
    project: Project,
    on_cluster: Callable[..., None],
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
) -> None:
    """The line names verb, resource and namespace; no load was started and nothing touched."""
    on_cluster(kubeconfig_for(control_plane, namespace, *rules_for([], [namespace])))
    before = {pod.metadata.uid for pod in list_pods(admin, namespace, {"app": "engine"})}

    done = project.faultload(
        "run", "engine/replica-loss", "--target", "cluster", "--reports", "nothing"
    )

    assert done.returncode == 69, done.stdout + done.stderr
    assert f"delete pods in namespace {namespace}" in done.stderr
    assert not (project.path / "nothing").exists()
    after = {pod.metadata.uid for pod in list_pods(admin, namespace, {"app": "engine"})}
    assert before == after


def _json(project: Project, *words: str) -> dict[str, Any]:
    done = project.faultload(*words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (one,) = json.loads(done.stdout)
    found: dict[str, Any] = one
    return found
