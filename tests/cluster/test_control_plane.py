"""The control plane is what the other tests take it for: real, guarded, and gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from certificates import Authority
from control_plane import ControlPlane
from kube_objects import (
    is_ready,
    kubeconfig_for,
    list_pods,
    make_deployment,
    make_node,
    signed_in,
    wait_for,
)
from kubelet import Kubelet
from kubernetes import client
from kubernetes.client.exceptions import ApiException

LABELS = {"app": "engine"}
READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
READ_NODES = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}


def status_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> int:
    """Return the HTTP status that a call ends with, 200 when it raises nothing."""
    try:
        call(*arguments, **options)
    except ApiException as error:
        return int(error.status)
    return 200


def test_rbac_allows_what_the_rules_say_and_nothing_else(
    control_plane: ControlPlane, namespace: str
) -> None:
    """Verbs, resources, namespaces and cluster scope are all held to."""
    path = kubeconfig_for(control_plane, namespace, [READ_PODS], [READ_NODES])
    with signed_in(path) as api:
        core = client.CoreV1Api(api)
        assert status_of(core.list_namespaced_pod, namespace) == 200
        assert status_of(core.list_node) == 200
        assert status_of(core.delete_collection_namespaced_pod, namespace) == 403
        assert status_of(core.list_namespaced_secret, namespace) == 403
        assert status_of(core.list_namespaced_pod, "default") == 403
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("authority", ["the system's", "another"])
def test_tls_is_refused_by_who_does_not_know_our_authority(
    control_plane: ControlPlane, tmp_path: Path, authority: str
) -> None:
    """The certificate is checked against the kubeconfig's authority, and against no other."""
    stranger = Authority(tmp_path).ca_file if authority == "another" else None
    untrusting = ssl.create_default_context(cafile=stranger)
    trusting = ssl.create_default_context(cafile=control_plane.ca_file)

    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        _open(control_plane.url, untrusting)
    assert _open(control_plane.url, trusting) == 200


def _open(url: str, tls: ssl.SSLContext) -> int:
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
    )
    with opener.open(f"{url}/version", timeout=10) as answer:
        return int(answer.status)


def test_a_token_is_refused_after_its_end(control_plane: ControlPlane, namespace: str) -> None:
    """Two tokens that differ in their end only: the later one is taken, the earlier one is not."""
    for expiration_s, status in ((599, 200), (-120, 401)):
        path = kubeconfig_for(control_plane, namespace, [READ_PODS], expiration_s=expiration_s)
        with signed_in(path) as api:
            assert status_of(client.CoreV1Api(api).list_namespaced_pod, namespace) == status


@pytest.mark.usefixtures("controllers")
def test_a_deployment_gets_its_pods(admin: client.ApiClient, namespace: str) -> None:
    """Controller and scheduler are real: three pods, on ready nodes only, all ready."""
    make_node(admin, "good")
    make_node(admin, "bad", ready=False)

    made = make_deployment(admin, namespace, "engine", LABELS, replicas=3)

    pods = list_pods(admin, namespace, LABELS)
    assert made.status.ready_replicas == 3
    assert [(pod.spec.node_name, is_ready(pod)) for pod in pods] == [("good", True)] * 3
    assert len({pod.status.pod_ip for pod in pods}) == 3
    # Service account admission: what runs in the pod could sign in.
    assert all(pod.spec.volumes[0].projected for pod in pods)


@pytest.mark.usefixtures("controllers")
def test_a_disruption_budget_refuses_an_eviction(admin: client.ApiClient, namespace: str) -> None:
    """429 with the budget as cause, and the pod stays; without the budget it goes."""
    make_node(admin, "node")
    make_deployment(admin, namespace, "engine", LABELS, replicas=2)
    policy = client.PolicyV1Api(admin)
    policy.create_namespaced_pod_disruption_budget(
        namespace,
        {
            "metadata": {"name": "engine"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": LABELS}},
        },
    )

    def counted() -> bool:
        seen = policy.read_namespaced_pod_disruption_budget("engine", namespace)
        return bool(seen.status and seen.status.current_healthy == 2)

    wait_for(counted, "budget that counts two healthy pods")
    pod = list_pods(admin, namespace, LABELS)[0]
    evict = {"metadata": {"name": pod.metadata.name, "namespace": namespace}}
    core = client.CoreV1Api(admin)

    with pytest.raises(ApiException) as refused:
        core.create_namespaced_pod_eviction(pod.metadata.name, namespace, evict)
    assert refused.value.status == 429
    causes = json.loads(refused.value.body)["details"]["causes"]
    assert [cause["reason"] for cause in causes] == ["DisruptionBudget"]
    assert core.read_namespaced_pod(pod.metadata.name, namespace).metadata.uid == pod.metadata.uid

    policy.delete_namespaced_pod_disruption_budget("engine", namespace)
    assert (
        status_of(core.create_namespaced_pod_eviction, pod.metadata.name, namespace, evict) == 200
    )


@pytest.mark.usefixtures("controllers")
def test_a_deleted_pod_is_replaced(admin: client.ApiClient, namespace: str) -> None:
    """A graceful delete runs to its end, and a ready pod of another uid takes the place."""
    make_node(admin, "node")
    make_deployment(admin, namespace, "engine", LABELS, replicas=2, grace_s=10)
    victim, other = list_pods(admin, namespace, LABELS)
    core = client.CoreV1Api(admin)

    core.delete_namespaced_pod(victim.metadata.name, namespace)
    ending = core.read_namespaced_pod(victim.metadata.name, namespace)
    assert ending.metadata.deletion_timestamp is not None
    assert ending.metadata.deletion_grace_period_seconds == 10

    def replaced() -> set[str] | None:
        seen = list_pods(admin, namespace, LABELS)
        uids = {pod.metadata.uid for pod in seen}
        gone = victim.metadata.uid not in uids
        return uids if gone and len(seen) == 2 and all(map(is_ready, seen)) else None

    with Kubelet(admin, namespace):
        assert other.metadata.uid in wait_for(replaced, "two ready pods without the deleted one")


@pytest.mark.usefixtures("controllers")
def test_a_rollout_runs_to_its_end_or_stands(admin: client.ApiClient, namespace: str) -> None:
    """Pods of a good image replace the old ones; pods that never get ready leave them in place."""
    make_node(admin, "node")
    make_deployment(admin, namespace, "engine", LABELS, replicas=2)
    apps = client.AppsV1Api(admin)

    def images() -> list[str]:
        pods = list_pods(admin, namespace, LABELS)
        return sorted(pod.spec.containers[0].image[-4:] for pod in pods if is_ready(pod))

    def roll_to(image: str) -> None:
        container = {"name": "engine", "image": f"example.com/engine:{image}"}
        body = {"spec": {"template": {"spec": {"containers": [container]}}}}
        apps.patch_namespaced_deployment("engine", namespace, body)

    def pods_of(image: str) -> int:
        pods = list_pods(admin, namespace, LABELS)
        return sum(pod.spec.containers[0].image.endswith(image) for pod in pods)

    with Kubelet(
        admin, namespace, starts=lambda pod: not pod.spec.containers[0].image.endswith("evil")
    ):
        roll_to("good")
        wait_for(lambda: images() == ["good", "good"], "two ready pods of the good image")
        roll_to("evil")
        wait_for(lambda: pods_of("evil") == 1, "one pod of the image that never gets ready")
        assert images() == ["good", "good"]


@pytest.mark.usefixtures("controllers")
def test_a_grace_period_is_waited_for(admin: client.ApiClient, namespace: str) -> None:
    """A pod whose kubelet takes its whole grace is ending until then, and still counted."""
    make_node(admin, "node")
    make_deployment(admin, namespace, "engine", LABELS, replicas=1, grace_s=3600)
    (victim,) = list_pods(admin, namespace, LABELS)
    core = client.CoreV1Api(admin)

    with Kubelet(admin, namespace, grace_scale=1.0):
        core.delete_namespaced_pod(victim.metadata.name, namespace)
        pods = wait_for(
            lambda: [p for p in list_pods(admin, namespace, LABELS) if is_ready(p)][1:],
            "a replacement beside the pod that is ending",
        )
        assert pods
        seen = core.read_namespaced_pod(victim.metadata.name, namespace)
        assert seen.metadata.uid == victim.metadata.uid


def test_kubectl_sees_the_same(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str, tmp_path: Path
) -> None:
    """A client that is not ours reads our kubeconfig and finds our objects."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH")
    path = kubeconfig_for(control_plane, namespace, [READ_PODS])
    body = {"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    made = client.CoreV1Api(admin).create_namespaced_pod(namespace, body)

    done = subprocess.run(
        ["kubectl", f"--kubeconfig={path}", f"--cache-dir={tmp_path}", "get", "pods", "-o=json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert [item["metadata"]["uid"] for item in json.loads(done.stdout)["items"]] == [
        made.metadata.uid
    ]


_START_AND_WAIT = """
import json, pathlib, sys
from control_plane import running
from kube_binaries import find
with running(find(), pathlib.Path(sys.argv[1])) as started:
    print(json.dumps(dict(started.pids)), flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_test_run_leaves_nothing_behind(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """Nobody has to hunt for API servers after a test process was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", _START_AND_WAIT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as runner:
        assert runner.stdout is not None
        pids = json.loads(runner.stdout.readline())
        assert set(pids) == set(control_plane.pids)
        assert all(_runs(pid) for pid in pids.values())
        runner.send_signal(signal.SIGKILL)
        runner.wait(10)

    wait_for(lambda: not any(_runs(pid) for pid in pids.values()), "end of every part")
    shutil.rmtree(tmp_path / "etcd")  # large, and pytest would keep it


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
