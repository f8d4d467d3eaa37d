"""Finding pods and workloads by the words of Chaos Toolkit's own experiments."""

from __future__ import annotations

from collections.abc import Sequence

from faultload.errors import RefusedError
from faultload.spec.target import KubernetesComponent
from faultload.targets.base import Workload
from faultload.targets.kubernetes import scaling
from faultload.targets.kubernetes.cluster import Cluster, has_finished, name_of
from faultload.targets.kubernetes.replicas import Replicas, as_replica
from faultload.targets.kubernetes.resources import PODS
from faultload.targets.stock_acts import Found

_NOBODYS = KubernetesComponent(selector="none")


def insist_on(cluster: Cluster, namespace: str) -> None:
    """See that a namespace is one where we may act, as its owner and the target file say.

    Raises:
        RefusedError: it is not.
    """
    if namespace not in cluster.namespaces:
        raise RefusedError(
            f"namespace {namespace!r} is not the target's: expected one of"
            f" {', '.join(cluster.namespaces)}"
        )


def find_replicas(
    cluster: Cluster, replicas: Replicas, namespace: str, selector: str
) -> Sequence[Found]:
    """Return the pods that a selector finds, as replicas of the target's components."""
    insist_on(cluster, namespace)
    known = {one.uid: one for name in cluster.spec.components for one in replicas.of(name)}
    pods = cluster.api.list_all(PODS, namespace, labels=selector)
    return [
        Found(
            known.get(pod["metadata"]["uid"]) or as_replica("", _NOBODYS, pod, {}),
            pod["metadata"]["creationTimestamp"],
        )
        for pod in sorted(pods, key=name_of)
        if not has_finished(pod)
    ]


def find_workload(cluster: Cluster, namespace: str, name: str) -> Workload | None:
    """Return the workload of this name that keeps replicas of one of the target's components."""
    insist_on(cluster, namespace)
    found = (
        workload
        for component, about in cluster.spec.components.items()
        if cluster.namespace_of(about) == namespace
        for workload in scaling.workloads(cluster, component, None)
    )
    return next((workload for workload in found if workload.name == name), None)
