"""A whole run on a real control plane: the stock experiment, its file unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import ControlPlane
from kube_objects import kubeconfig_for
from kube_targets import snapshot, target_spec
from kubelet import Kubelet
from kubernetes import client
from projects import Project, make_project
from snapshots import differences
from streaming_server import streaming_server

from faultload.errors import ExitCode
from faultload.targets import KILL_REPLICA
from faultload.targets.kubernetes import rules_for

pytestmark = pytest.mark.usefixtures("controllers")


def make_cluster_project(
    folder: Path, admin: client.ApiClient, kubeconfig: Path, namespace: str, url: str
) -> Project:
    """Lay out a project whose target `cluster` is a namespace; its platform listens at `url`."""
    project = make_project(folder, {})
    spec = target_spec(admin, kubeconfig, namespace, inference_url=url)
    target = spec.model_dump(mode="json") | {
        "phases": {"warmup_s": 1, "baseline_s": 4, "hold_s": 3, "recovery_s": 4}
    }
    (folder / "targets" / "cluster.yaml").write_text(yaml.safe_dump(target), encoding="utf-8")
    return project


def test_the_stock_experiment_runs_here(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    engines: None,
    tmp_path: Path,
) -> None:
    """Killed, proven, healed, judged, under exactly the rights it needs; no credential is kept."""
    before = {pod.metadata.uid for pod in _pods(admin, namespace)}
    rules = rules_for([KILL_REPLICA], [namespace])
    kubeconfig = kubeconfig_for(control_plane, namespace, *rules)
    token = json.loads(kubeconfig.read_text(encoding="utf-8"))["users"][0]["user"]["token"]

    with streaming_server(0.05) as server, Kubelet(admin, namespace):
        project = make_cluster_project(tmp_path, admin, kubeconfig, namespace, server.url)
        done = project.faultload("run", "engine/replica-loss", "--target", "cluster")

    record = project.run_directory() / "record"
    steps = [json.loads(line) for line in (record / "injections.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps][-1] == "verified_reverted", done.stderr
    (hit,) = before - {pod.metadata.uid for pod in _pods(admin, namespace)}
    (planned,) = steps[0]["plan"]["victims"]
    assert planned["uid"] == hit
    certified = done.returncode in (ExitCode.PASS, ExitCode.INCONCLUSIVE)
    assert certified or project.was_late(), done.stdout + done.stderr
    manifest = json.loads((record / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["platform"]["version"] == control_plane.version
    lease = client.CoordinationV1Api(admin).read_namespaced_lease("faultload", namespace)
    assert lease.spec.holder_identity is None
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(kept) > 10
    assert not [path for path in kept if token.encode() in path.read_bytes()]
    assert token not in done.stdout + done.stderr


def test_a_run_that_lacks_a_right_ends_before_it_begins(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    engines: None,
    tmp_path: Path,
) -> None:
    """What to grant is said, nothing is touched, and the next run is free to go."""
    before = {pod.metadata.uid for pod in _pods(admin, namespace)}
    kubeconfig = kubeconfig_for(control_plane, namespace, *rules_for([], [namespace]))
    project = make_cluster_project(tmp_path, admin, kubeconfig, namespace, "http://127.0.0.1:9")
    done = project.faultload("run", "engine/replica-loss", "--target", "cluster")

    assert f"may not delete pods in namespace {namespace} (needed for kill-replica)" in done.stderr
    assert done.returncode == 69, done.stdout
    assert not (project.path / "reports").exists()
    assert {pod.metadata.uid for pod in _pods(admin, namespace)} == before
    assert client.CoordinationV1Api(admin).list_namespaced_lease(namespace).items == []


def test_a_dry_run_touches_nothing_and_resolves_as_on_the_local_platform(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    engines: None,
    tmp_path: Path,
) -> None:
    """The same file: one ready engine there, one ready pod here."""
    kubeconfig = control_plane.admin_kubeconfig
    project = make_cluster_project(tmp_path, admin, kubeconfig, namespace, "http://127.0.0.1:9")
    before = snapshot(admin, namespace)

    said = {name: _dry_run(project, name) for name in ("local", "cluster")}

    (local,), (pod,) = (said[name]["faults"][0]["victims"] for name in ("local", "cluster"))
    assert local["component"] == pod["component"] == "engine"
    assert (pod["name"], pod["uid"]) in {
        (found.metadata.name, found.metadata.uid) for found in _pods(admin, namespace)
    }
    limits = {name: {**said[name]["limits"], "expendable": []} for name in said}
    assert limits["cluster"] == limits["local"]  # but for what only the local target gives away
    assert differences(before, snapshot(admin, namespace)) == []
    project.is_clean()


def _dry_run(project: Project, target: str) -> dict[str, Any]:
    words = ("run", "engine/replica-loss", "--dry-run", "--target", target, "--json")
    done = project.faultload(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(done.stdout)
    return dict(found)


def _pods(admin: client.ApiClient, namespace: str) -> list[client.V1Pod]:
    found = client.CoreV1Api(admin).list_namespaced_pod(namespace)
    return list(found.items)
