"""Nodes: what runs there, and keeping new pods away."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from faultload.errors import FaultError
from faultload.targets.base import Mark, Node, Occupant
from faultload.targets.kubernetes.api import GoneError, Object
from faultload.targets.kubernetes.cluster import (
    Cluster,
    controller_of,
    has_condition,
    has_finished,
    name_of,
)
from faultload.targets.kubernetes.marks import Field, Undo, changed, restored
from faultload.targets.kubernetes.resources import NODES, PODS, Ref

CORDON = Field(("spec", "unschedulable"))
ZONE = "topology.kubernetes.io/zone"
_MIRROR = "kubernetes.io/config.mirror"
_LOGGER = logging.getLogger(__name__)


def zone_of(node: Object) -> str:
    """Return a node's zone; "" where it is not labelled."""
    return str((node["metadata"].get("labels") or {}).get(ZONE, ""))


def as_node(node: Object) -> Node:
    """Return a node as the faults see it."""
    return Node(
        name=name_of(node),
        uid=node["metadata"]["uid"],
        zone=zone_of(node),
        ready=has_condition(node, "Ready"),
        schedulable=not CORDON.read(node),
    )


def occupants(cluster: Cluster, node: str) -> Sequence[Occupant]:
    """Return every pod on a node, of other namespaces too, by name."""
    pods = cluster.api.list_all(PODS, fields=f"spec.nodeName={node}")
    return [
        as_occupant(pod, cluster.component_of(pod), cluster.namespaces)
        for pod in sorted(pods, key=name_of)
    ]


def as_occupant(pod: Object, component: str, namespaces: Collection[str]) -> Occupant:
    """Return a pod as what a drain meets."""
    metadata = pod["metadata"]
    stays = _why_it_stays(pod)
    forbids = "" if stays else _why_it_forbids(pod, namespaces)
    return Occupant(metadata["name"], metadata["uid"], component, stays, forbids)


def _why_it_stays(pod: Object) -> str:
    if has_finished(pod):
        return "has finished"
    if _MIRROR in (pod["metadata"].get("annotations") or {}):
        return "is the node's own (a mirror pod)"
    controller = controller_of(pod)
    if controller is not None and controller["kind"] == "DaemonSet":
        return f"belongs to every node (daemonset {controller['name']})"
    return ""


def _why_it_forbids(pod: Object, namespaces: Collection[str]) -> str:
    namespace = pod["metadata"]["namespace"]
    if namespace not in namespaces:
        return f"is in namespace {namespace}, which is not the target's"
    if controller_of(pod) is None:
        return "has no controller that would replace it"
    for volume in pod["spec"].get("volumes") or []:
        empty = volume.get("emptyDir")
        # In memory it is no data but a means to speak: vLLM's workers share one as /dev/shm.
        if empty is not None and empty.get("medium") != "Memory":
            return f"keeps data on the node (emptyDir {volume['name']})"
    return ""


def cordon(cluster: Cluster, name: str, uid: str, mark: Mark) -> None:
    """Keep new pods away from a node.

    Raises:
        FaultError: somebody else keeps them away already; to undo that is not for us.
    """
    now_s, is_on = cluster.api.now_unix_s(), True

    def change(seen: Object) -> Object | None:
        if CORDON.read(seen) and Undo.of(seen) is None:
            raise FaultError(f"node {name} is cordoned already, and not by us")
        return changed(seen, CORDON, is_on, mark, now_s)

    cluster.api.amend(Ref(NODES, "", name, uid), change)


def uncordon(cluster: Cluster, name: str, uid: str, token: str) -> None:
    """Set back what `cordon` did for this token."""
    try:
        said = undo_cordon(cluster, Ref(NODES, "", name, uid), token)
    except GoneError:
        return
    if said:
        _LOGGER.warning(said)


def undo_cordon(cluster: Cluster, ref: Ref, token: str) -> str:
    """Set back the cordon of a token; return what is to be said of it.

    Raises:
        GoneError: the node is.
    """
    said = ""

    def change(seen: Object) -> Object | None:
        nonlocal said
        undo = Undo.of(seen)
        if undo is None or undo.token != token:
            return None
        patch, said = restored(seen, CORDON, undo, undo.was)
        return patch

    cluster.api.amend(ref, change)
    return said
