"""Pods as replicas, and what ends them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from http import HTTPStatus

from faultload.errors import FaultError
from faultload.spec.target import KubernetesComponent
from faultload.targets.base import Refusal, Replica
from faultload.targets.kubernetes.api import ApiError, Call, GoneError, Object
from faultload.targets.kubernetes.cluster import Cluster, has_condition, name_of
from faultload.targets.kubernetes.nodes import zone_of
from faultload.targets.kubernetes.resources import NODES, PODS, Ref

_ZONES_FRESH_S = 60.0
_ZONES_KEPT_S = 1.0
"""Also where a pod is on a node that we do not know: it may be gone for good."""
_EVICTION_RETRY_S = 2.0
"""Where the API names no time: a budget allows more when a pod gets ready."""


class Replicas:
    """The pods of a target's components."""

    def __init__(self, cluster: Cluster) -> None:
        """Nothing is asked yet."""
        self._cluster = cluster
        self._zones: dict[str, str] = {}
        self._zones_of_s = -math.inf

    def of(self, component: str) -> Sequence[Replica]:
        """Return the replicas of a component, by name."""
        pods = self._cluster.pods(component)
        if not pods:
            return []
        about = self._cluster.spec.components[component]
        on = {pod["spec"].get("nodeName") or "" for pod in pods} - {""}
        # Faults ask many times a second, and a node stays in its zone.
        kept_s = _ZONES_FRESH_S if on <= self._zones.keys() else _ZONES_KEPT_S
        if time.monotonic() - self._zones_of_s > kept_s:
            nodes = self._cluster.api.list_all(NODES)
            self._zones = {name_of(node): zone_of(node) for node in nodes}
            self._zones_of_s = time.monotonic()
        return [as_replica(component, about, pod, self._zones) for pod in pods]

    def delete(self, name: str, uid: str, grace_s: int | None) -> None:
        """Delete a pod; grace_s None: its own grace period.

        Raises:
            GoneError: there is no such pod.
        """
        ref, _ = self._cluster.locate(PODS, name, uid)
        self._cluster.api.delete(ref, grace_s)

    def evict(self, name: str, uid: str) -> Refusal | None:
        """Ask for a pod's eviction; None: granted, or there is no such pod.

        Raises:
            FaultError: it can never be granted as things are.
        """
        try:
            ref, _ = self._cluster.locate(PODS, name, uid)
        except GoneError:
            return None
        body: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": ref.namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        what = f"create {ref.words('eviction')}"
        try:
            self._cluster.api.call(Call("POST", ref.path("eviction"), what, body=body))
        except ApiError as error:
            return self._refusal(ref, error)
        return None

    def _refusal(self, ref: Ref, error: ApiError) -> Refusal | None:
        if error.status == HTTPStatus.TOO_MANY_REQUESTS:
            return Refusal(error.message or str(error), error.retry_after_s or _EVICTION_RETRY_S)
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        if error.status == HTTPStatus.CONFLICT:
            pod = self._cluster.api.find(ref)
            is_gone = pod is None or pod["metadata"]["uid"] != ref.uid
            return None if is_gone else Refusal(error.message, _EVICTION_RETRY_S)
        if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:  # two budgets for one pod, for one
            raise FaultError(
                f"pod {ref.name} cannot be evicted: {error.message or error}"
            ) from None
        raise error


def as_replica(
    component: str, about: KubernetesComponent, pod: Object, zones: dict[str, str]
) -> Replica:
    """Return a pod as a replica; `zones` is node → zone."""
    metadata, node = pod["metadata"], pod["spec"].get("nodeName") or ""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return Replica(
        component=component,
        name=metadata["name"],
        uid=metadata["uid"],
        tier=(metadata.get("labels") or {}).get(about.tier_label, "") if about.tier_label else "",
        node=node,
        zone=zones.get(node, ""),
        ready=has_condition(pod, "Ready") and not metadata.get("deletionTimestamp"),
        restarts=sum(int(status.get("restartCount", 0)) for status in statuses),
        inflight=None,
    )
