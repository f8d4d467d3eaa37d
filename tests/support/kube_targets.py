"""Targets on the tests' cluster, and everything that lies in it before and after."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from kube_objects import wait_for
from kubernetes import client
from snapshots import Snapshot, differences

from faultload.spec.target import KubernetesTargetSpec
from faultload.targets.kubernetes import KubernetesTarget
from faultload.targets.kubernetes.api import Patience
from faultload.targets.kubernetes.releases import RELEASED_BY, RESTARTED_AT

TIER = "tier"
QUICK = Patience(connect_s=1.0, read_s=1.0, attempts=3, total_s=10.0, pause_s=0.02, pause_s_max=0.2)
"""For tests in which calls fail."""
# Volatile by nature: they follow the others.
_FOLLOWERS = {"events", "endpoints", "endpointslices"}
_NODE_TTL = "node.alpha.kubernetes.io/ttl"
_WORKLOADS = {"deployments", "replicasets", "statefulsets"}
# They only ever rise: a template that is set back is a new revision with the old replica set.
_REVISIONS = {"deployment.kubernetes.io/revision", "deployment.kubernetes.io/revision-history"}
_OF_A_RESTART = {RESTARTED_AT, RELEASED_BY}


def cluster_uid(admin: client.ApiClient) -> str:
    """Return what identifies the cluster."""
    return str(client.CoreV1Api(admin).read_namespace("kube-system").metadata.uid)


def target_spec(
    admin: client.ApiClient, kubeconfig: Path | None, namespace: str, **changes: Any
) -> KubernetesTargetSpec:
    """Return a target file on a namespace, its engines labelled `app=engine`.

    Args:
        admin: to look up the cluster's uid.
        kubeconfig: to sign in with; None: the file names none.
        namespace: its first.
        changes: to the block `kubernetes`.
    """
    block = {
        "kubeconfig": str(kubeconfig or ""),
        "context": "test",
        "cluster_uid": cluster_uid(admin),
        "namespaces": [namespace],
        "components": {"engine": {"selector": "app=engine", "tier_label": TIER}},
        "inference_url": "http://127.0.0.1:9",
        "prometheus_url": "http://127.0.0.1:9",
    }
    return KubernetesTargetSpec.model_validate(
        {"name": "test", "kind": "kubernetes", "stop": "none", "kubernetes": block | changes}
    )


@contextlib.contextmanager
def signed_in_target(
    spec: KubernetesTargetSpec, patience: Patience = Patience()
) -> Iterator[KubernetesTarget]:
    """Yield a target, and close it."""
    target = KubernetesTarget.connect(spec, Path("targets/test.yaml"), patience)
    try:
        yield target
    finally:
        target.close()


def snapshot(admin: client.ApiClient, namespace: str, but: str = "") -> Snapshot:
    """Return every object of a namespace, and every node: (resource, name) → the object.

    Versions and what controllers say of their own progress are left out, and the resource `but`.
    """
    found: Snapshot = {}
    for prefix, resource, namespaced in _resources(admin):
        if resource == but or (not namespaced and resource != "nodes"):
            continue
        place = f"{prefix}/namespaces/{namespace}/{resource}" if namespaced else f"{prefix}/nodes"
        for item in _get(admin, place)["items"]:
            found[resource, item["metadata"]["name"]] = _lasting(resource, item)
    return found


def _resources(admin: client.ApiClient) -> Iterator[tuple[str, str, bool]]:
    groups = [group["preferredVersion"]["groupVersion"] for group in _get(admin, "/apis")["groups"]]
    for prefix in ["/api/v1", *(f"/apis/{group}" for group in groups)]:
        for about in _get(admin, prefix)["resources"]:
            name = about["name"]
            if "list" in about["verbs"] and name not in _FOLLOWERS:
                yield prefix, name, bool(about["namespaced"])


def _get(admin: client.ApiClient, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = admin.call_api(
        path,
        "GET",
        header_params={"Accept": "application/json"},
        response_types_map={200: "object"},
        auth_settings=["BearerToken"],
        _return_http_data_only=True,
    )
    return answer


def _lasting(resource: str, item: Mapping[str, Any]) -> dict[str, Any]:
    passing = {"resourceVersion", "managedFields", "generation"}
    metadata = {key: value for key, value in item["metadata"].items() if key not in passing}
    if resource == "nodes":  # a controller writes it some time after a node was made
        kept = {k: v for k, v in metadata.get("annotations", {}).items() if k != _NODE_TTL}
        metadata["annotations"] = kept
    lasting = dict(item) | {"metadata": metadata}
    if resource in _WORKLOADS:
        lasting.pop("status")
        metadata["annotations"] = _but(metadata.get("annotations"), _REVISIONS)
    return lasting


def _but(annotations: Mapping[str, str] | None, keys: Collection[str]) -> dict[str, str]:
    return {key: value for key, value in (annotations or {}).items() if key not in keys}


def before_restarts(found: Snapshot) -> Snapshot:
    """Return a snapshot without what a restart leaves: two annotations, and replica sets.

    `kubectl rollout restart` leaves the same, and its pods have them as well.
    """
    lasting = copy.deepcopy(found)
    for (resource, _), item in lasting.items():
        if resource in _WORKLOADS:
            metadata = item["spec"]["template"]["metadata"]
            metadata["annotations"] = _but(metadata.get("annotations"), _OF_A_RESTART)
    return {key: item for key, item in lasting.items() if key[0] != "replicasets"}


@contextlib.contextmanager
def nothing_else_changes(
    admin: client.ApiClient,
    namespace: str,
    but: str = "",
    seen_as: Callable[[Snapshot], Snapshot] = lambda found: found,
) -> Iterator[None]:
    """See that everything is as it was, once the controllers have settled.

    Args:
        admin: signed in as one who may.
        namespace: where.
        but: a kind that is not looked at: pods, where a controller chooses which of them ends.
        seen_as: what of a snapshot is compared.
    """
    before = seen_as(snapshot(admin, namespace, but))
    yield
    seen: list[str] = []

    def is_as_before() -> bool:
        seen[:] = differences(before, seen_as(snapshot(admin, namespace, but)))
        return not seen

    try:
        wait_for(is_as_before, "everything as it was", timeout_s=15)
    except AssertionError:
        raise AssertionError("\n".join(seen)) from None
