"""Objects that tests need in a cluster: who signs in, nodes, pods that are ready, deployments."""

from __future__ import annotations

import datetime as dt
import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from control_plane import ControlPlane, write_kubeconfig
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

WAIT_S = 60.0
TOKEN_S_MIN = 600  # the shortest that TokenRequest gives
TEST_NODE = "faultload.dev/test-node"
"""Label of the nodes made here."""
NOT_READY = "node.kubernetes.io/not-ready"
"""Taint that every node is born with, and loses when the controllers find it ready."""

_T = TypeVar("_T")
_POD_NUMBERS = itertools.count(2)
_NODE_NUMBERS = itertools.count(2)
_OVERTAKEN = {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}

Rule = Mapping[str, Sequence[str]]


def wait_for(look: Callable[[], _T | None], what: str, timeout_s: float = WAIT_S) -> _T:
    """Return the first answer of `look` that is neither None nor false.

    Raises:
        AssertionError: there was none in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s, last saw {seen!r}")
        time.sleep(0.05)


def signed_in(kubeconfig: Path) -> client.ApiClient:
    """Return a client signed in as a kubeconfig says; close it."""
    return config.new_client_from_config(str(kubeconfig))


def kubeconfig_for(
    control_plane: ControlPlane,
    namespace: str,
    rules: Sequence[Rule],
    cluster_rules: Sequence[Rule] = (),
    *,
    expiration_s: int = 3600,
) -> Path:
    """Make a service account that may do exactly this, and return a kubeconfig with its token.

    Args:
        control_plane: where.
        namespace: of the service account and of what `rules` allow.
        rules: as in a Role: `{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}`.
        cluster_rules: as in a ClusterRole.
        expiration_s: of the token. Below 600, which TokenRequest refuses, the token is signed again
            with the control plane's key; the API server takes it 60 s longer, so that one that it
            refuses at once has less than -60.
    """
    name = f"test-{secrets.token_hex(4)}"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    with signed_in(control_plane.admin_kubeconfig) as admin:
        core, rbac = client.CoreV1Api(admin), client.RbacAuthorizationV1Api(admin)
        core.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
        rbac.create_namespaced_role(
            namespace, {"metadata": {"name": name}, "rules": [dict(rule) for rule in rules]}
        )
        rbac.create_namespaced_role_binding(namespace, _binding("Role", name, subject))
        if cluster_rules:
            rbac.create_cluster_role(
                {"metadata": {"name": name}, "rules": [dict(rule) for rule in cluster_rules]}
            )
            rbac.create_cluster_role_binding(_binding("ClusterRole", name, subject))
        request = {"spec": {"expirationSeconds": max(expiration_s, TOKEN_S_MIN), "audiences": []}}
        token = core.create_namespaced_service_account_token(name, namespace, request).status.token
    if expiration_s < TOKEN_S_MIN:
        token = control_plane.signed_again(token, expiration_s)
    path = control_plane.home / f"{name}.kubeconfig"
    user = {"token": token}
    return write_kubeconfig(path, control_plane.url, control_plane.ca_file, user, namespace)


def _binding(kind: str, name: str, subject: Mapping[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [dict(subject)],
    }


def make_node(
    admin: client.ApiClient,
    name: str,
    labels: Mapping[str, str] | None = None,
    *,
    zone: str = "zone-a",
    ready: bool = True,
    capacity: Mapping[str, str] | None = None,
) -> client.V1Node:
    """Register a node as a kubelet would; a ready one is returned once pods may go there.

    Needs the controllers, who say so. The `admin` fixture deletes the node after the test.

    Args:
        admin: signed in as one who may.
        name: of the node, and of its label kubernetes.io/hostname.
        labels: besides the usual ones.
        zone: its label topology.kubernetes.io/zone.
        ready: else its condition Ready is False, and the controllers keep pods away.
        capacity: besides 64 CPUs, 256 GiB and 110 pods: `{"nvidia.com/gpu": "8"}` for one.
    """
    core = client.CoreV1Api(admin)
    number = next(_NODE_NUMBERS)
    usual = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone,
        "topology.kubernetes.io/region": zone.rsplit("-", 1)[0],
        TEST_NODE: "true",
    }
    room = {"cpu": "64", "memory": "256Gi", "pods": "110"} | dict(capacity or {})
    status = {
        "capacity": room,
        "allocatable": room,
        "addresses": [
            {"type": "InternalIP", "address": f"10.0.{number >> 8}.{number & 255}"},
            {"type": "Hostname", "address": name},
        ],
        "conditions": _node_conditions(ready=ready),
    }
    # With its status, as kubelets do: the controllers take a node without one for ready.
    metadata = {"name": name, "labels": usual | dict(labels or {})}
    core.create_node({"metadata": metadata, "status": status})

    def settled() -> client.V1Node | None:
        node = core.read_node(name)
        tainted = any(taint.key == NOT_READY for taint in node.spec.taints or [])
        return node if tainted is not ready else None

    return wait_for(settled, f"node {name} {'without' if ready else 'with'} the taint {NOT_READY}")


def _node_conditions(*, ready: bool) -> list[dict[str, str]]:
    states = {
        "Ready": ready,
        "MemoryPressure": False,
        "DiskPressure": False,
        "PIDPressure": False,
    }
    return [
        {
            "type": kind,
            "status": str(state),
            "reason": "Test",
            "lastHeartbeatTime": _now(),
            "lastTransitionTime": _now(),
        }
        for kind, state in states.items()
    ]


def make_ready(admin: client.ApiClient, pod: client.V1Pod, *, restarts: int = 0) -> client.V1Pod:
    """Say of a pod what its kubelet would once its containers run and their probes succeed.

    Args:
        admin: signed in as one who may.
        pod: keeps its address; its containers are new ones, as after a restart.
        restarts: how often each container was started again.
    """
    number = next(_POD_NUMBERS)
    address = pod.status.pod_ip or f"10.244.{number >> 8 & 255}.{number & 255}"
    now = _now()
    kinds = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds
        ],
        "containerStatuses": [
            {
                "name": container.name,
                "image": container.image,
                "imageID": f"{container.image}@sha256:{'0' * 64}",
                "containerID": f"containerd://{secrets.token_hex(32)}",
                "ready": True,
                "started": True,
                "restartCount": restarts,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod.spec.containers
        ],
    }
    # The uid refuses the patch when a pod of the same name has taken this one's place.
    body = {"metadata": {"uid": pod.metadata.uid}, "status": status}
    return client.CoreV1Api(admin).patch_namespaced_pod_status(
        pod.metadata.name, pod.metadata.namespace, body
    )


@contextmanager
def unless_overtaken() -> Iterator[None]:
    """Leave a pod that went, or changed, between a look and this act: the next look sees it."""
    try:
        yield
    except ApiException as error:
        if error.status not in _OVERTAKEN:
            raise


def make_waiting(
    admin: client.ApiClient, pod: client.V1Pod, reason: str, message: str
) -> client.V1Pod:
    """Say of a pod what its kubelet would when its containers cannot run, and why."""
    now = _now()
    status = {
        "phase": "Pending",
        "startTime": now,
        "conditions": [
            {"type": kind, "status": "False", "reason": "ContainersNotReady"}
            for kind in ("ContainersReady", "Ready")
        ],
        "containerStatuses": [
            {
                "name": container.name,
                "image": container.image,
                "imageID": "",
                "ready": False,
                "started": False,
                "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": message}},
            }
            for container in pod.spec.containers
        ],
    }
    body = {"metadata": {"uid": pod.metadata.uid}, "status": status}
    return client.CoreV1Api(admin).patch_namespaced_pod_status(
        pod.metadata.name, pod.metadata.namespace, body
    )


def is_ready(pod: client.V1Pod) -> bool:
    """Say whether the pod's condition Ready is true."""
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])


def selector(labels: Mapping[str, str]) -> str:
    """Return labels as a label selector."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def list_pods(
    admin: client.ApiClient, namespace: str, labels: Mapping[str, str]
) -> list[client.V1Pod]:
    """Return the pods with these labels, those that are ending too."""
    found = client.CoreV1Api(admin).list_namespaced_pod(namespace, label_selector=selector(labels))
    return list(found.items)


def make_deployment(
    admin: client.ApiClient,
    namespace: str,
    name: str,
    labels: Mapping[str, str],
    replicas: int,
    *,
    image: str = "example.com/engine:1",
    grace_s: int = 30,
    pod_spec: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> client.V1Deployment:
    """Make a deployment, and return it when all its pods are scheduled and ready.

    Needs the controllers, and a node. Its first pods are made ready here; later ones need a
    `Kubelet`.

    Args:
        admin: signed in as one who may.
        namespace: where.
        name: of the deployment and its only container.
        labels: of the deployment and its pods, and its selector.
        replicas: how many pods.
        image: never pulled.
        grace_s: terminationGracePeriodSeconds.
        pod_spec: laid over the pod template's spec.
        spec: laid over the deployment's spec: `{"strategy": ...}` for one.
    """
    apps = client.AppsV1Api(admin)
    template = {
        "metadata": {"labels": dict(labels)},
        "spec": {
            "terminationGracePeriodSeconds": grace_s,
            "containers": [{"name": name, "image": image}],
            **(pod_spec or {}),
        },
    }
    body = {
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": dict(labels)},
            "template": template,
            **(spec or {}),
        },
    }
    apps.create_namespaced_deployment(namespace, body)

    def settled() -> client.V1Deployment | None:
        for pod in list_pods(admin, namespace, labels):
            if pod.spec.node_name and not pod.status.container_statuses:
                with unless_overtaken():  # by a Kubelet
                    make_ready(admin, pod)
        seen = apps.read_namespaced_deployment(name, namespace)
        return seen if seen.status.available_replicas == replicas else None

    if replicas == 0:
        return apps.read_namespaced_deployment(name, namespace)
    return wait_for(settled, f"deployment {name} with {replicas} ready pods")


def make_stateful_set(
    admin: client.ApiClient, namespace: str, name: str, labels: Mapping[str, str], replicas: int
) -> None:
    """Make a stateful set; its pods get ready where a `Kubelet` is."""
    spec = {
        "replicas": replicas,
        "serviceName": name,
        "selector": {"matchLabels": dict(labels)},
        "template": {
            "metadata": {"labels": dict(labels)},
            "spec": {"containers": [{"name": name, "image": "example.com/engine:1"}]},
        },
    }
    body = {"metadata": {"name": name, "labels": dict(labels)}, "spec": spec}
    client.AppsV1Api(admin).create_namespaced_stateful_set(namespace, body)


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
