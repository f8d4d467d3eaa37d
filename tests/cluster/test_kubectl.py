"""kubectl and the target agree on what was touched, where kubectl is there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane
from kube_objects import make_deployment, make_node
from kubernetes import client

from faultload.targets import Mark
from faultload.targets.kubernetes import KubernetesTarget

MARK = Mark("token-1", 4_000_000_000.0)
UNDO = "faultload.dev/undo"
Ask = Callable[..., Any]

pytestmark = [
    pytest.mark.usefixtures("controllers"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH"),
]


@pytest.fixture
def kubectl(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Ask:
    """Ask kubectl; the answer is JSON if that was asked for."""

    def ask(*words: str) -> Any:
        options = [f"--kubeconfig={control_plane.admin_kubeconfig}", f"--cache-dir={tmp_path}"]
        done = subprocess.run(
            ["kubectl", *options, f"--namespace={namespace}", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "-o=json" in words else done.stdout

    return ask


def test_kubectl_sees_what_was_done_and_that_it_is_undone(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, kubectl: Ask
) -> None:
    """Cordon, scale and partition, each with its mark; afterwards none of them."""
    node = make_node(admin, "node")
    make_deployment(admin, namespace, "engine", {"app": "engine"}, 2)
    (workload,) = target.workloads("engine", None)
    hit = target.replicas("engine")[0]

    def seen() -> dict[str, Any]:
        deployment = kubectl("get", "deployment", "engine", "-o=json")
        cordoned = kubectl("get", "node", "node", "-o=json")
        policies = kubectl("get", "networkpolicy", "-o=json")["items"]
        label = f"faultload.dev/partition={MARK.token}"
        return {
            "cordoned": cordoned["spec"].get("unschedulable", False),
            "wanted": deployment["spec"]["replicas"],
            "policies": len(policies),
            "cut off": [
                pod["metadata"]["uid"]
                for pod in kubectl("get", "pods", "-l", label, "-o=json")["items"]
            ],
            "marks": [
                json.loads(found["metadata"]["annotations"][UNDO])["token"]
                for found in (cordoned, deployment, *policies)
                if UNDO in found["metadata"].get("annotations", {})
            ],
        }

    before = seen()
    target.cordon_node("node", node.metadata.uid, MARK)
    target.set_scale(workload.name, workload.uid, 3, MARK)
    target.partition([(hit.name, hit.uid)], MARK)

    during = seen()

    assert during == {
        "cordoned": True,
        "wanted": 3,
        "policies": 1,
        "cut off": [hit.uid],
        "marks": [MARK.token] * 3,
    }
    assert [one.schedulable for one in target.nodes()] == [False]
    assert set(target.partitioned(MARK.token)) == {hit.uid}
    target.join([(hit.name, hit.uid)], MARK.token)
    target.restore_scale(workload.name, workload.uid, MARK.token, 2)
    target.uncordon_node("node", node.metadata.uid, MARK.token)
    assert seen() == before


def test_what_kubectl_undid_is_left_alone(
    target: KubernetesTarget, admin: client.ApiClient, kubectl: Ask
) -> None:
    """A person who uncordons by hand is believed: only our mark goes."""
    node = make_node(admin, "node")
    target.cordon_node("node", node.metadata.uid, MARK)
    kubectl("uncordon", "node")

    target.uncordon_node("node", node.metadata.uid, MARK.token)

    found = kubectl("get", "node", "node", "-o=json")
    assert "unschedulable" not in found["spec"]
    assert UNDO not in found["metadata"].get("annotations", {})
