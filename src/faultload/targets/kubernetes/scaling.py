"""Deployments and stateful sets: who keeps a component's replicas, and how many."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from faultload.errors import FaultError
from faultload.spec import labels as selectors
from faultload.spec.target import KubernetesComponent
from faultload.targets.base import Mark, Workload
from faultload.targets.kubernetes.api import GoneError, Object
from faultload.targets.kubernetes.cluster import Cluster, controller_of, name_of
from faultload.targets.kubernetes.marks import changed
from faultload.targets.kubernetes.resources import AUTOSCALERS, REPLICA_SETS, WORKLOADS, Resource
from faultload.targets.kubernetes.workloads import REPLICAS, split, undo_change, wanted

_LOGGER = logging.getLogger(__name__)


def workloads(cluster: Cluster, component: str, tier: str | None) -> Sequence[Workload]:
    """Return what keeps the pods of a component or tier, by name; also what keeps none now."""
    about = cluster.spec.components.get(component)
    if about is None:
        return []
    namespace = cluster.namespace_of(about)
    tiers = _tiers_by_owner(cluster, namespace, component, about)
    autoscalers = _autoscalers(cluster, namespace)
    wanted = selectors.parse(about.selector)
    found = []
    for kind in WORKLOADS:
        for seen in cluster.api.list_all(kind, namespace):
            labels = seen["spec"]["template"]["metadata"].get("labels") or {}
            owned = tiers.get(seen["metadata"]["uid"])
            if owned is None and not selectors.matches(wanted, labels):
                continue
            its = labels.get(about.tier_label) or owned or "" if about.tier_label else ""
            if tier in (None, its):
                found.append(_as_workload(kind, seen, component, its, autoscalers))
    return sorted(found, key=lambda workload: workload.name)


def _as_workload(
    kind: Resource, seen: Object, component: str, tier: str, autoscalers: dict[str, str]
) -> Workload:
    name = f"{kind.kind.lower()}/{name_of(seen)}"
    return Workload(
        name=name,
        uid=seen["metadata"]["uid"],
        component=component,
        tier=tier,
        wanted=wanted(seen),
        scaled_by=autoscalers.get(name, ""),
    )


def _tiers_by_owner(
    cluster: Cluster, namespace: str, component: str, about: KubernetesComponent
) -> dict[str, str]:
    """Return the uid of every object that keeps pods of the component → the tier of one of them."""
    sets = {rs["metadata"]["uid"]: rs for rs in cluster.api.list_all(REPLICA_SETS, namespace)}
    tiers: dict[str, str] = {}
    for pod in cluster.pods(component):
        owner = controller_of(pod)
        if owner is not None and owner["uid"] in sets:
            owner = controller_of(sets[owner["uid"]])
        if owner is not None:
            tiers[owner["uid"]] = (pod["metadata"].get("labels") or {}).get(about.tier_label, "")
    return tiers


def _autoscalers(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Return workload → autoscaler. KEDA's ScaledObjects are there as the autoscalers they make."""
    return {
        f"{target['kind'].lower()}/{target['name']}": name_of(found)
        for found in cluster.api.list_all(AUTOSCALERS, namespace)
        for target in [found["spec"]["scaleTargetRef"]]
    }


def set_scale(cluster: Cluster, workload: str, uid: str, replicas: int, mark: Mark) -> None:
    """Have a workload keep another number of pods.

    Raises:
        FaultError: it is gone, or an autoscaler would set the number back.
    """
    if replicas < 0:
        raise FaultError(f"expected 0 or more replicas for {workload}, found {replicas}")
    ref, _ = cluster.locate(*split(workload), uid)
    scaled_by = _autoscalers(cluster, ref.namespace).get(workload)
    if scaled_by:
        raise FaultError(
            f"{workload} is scaled by {AUTOSCALERS.kind} {scaled_by}, which would undo any change"
            " at once"
        )
    now_s = cluster.api.now_unix_s()
    cluster.api.amend(ref, lambda seen: changed(seen, REPLICAS, replicas, mark, now_s))


def restore_scale(cluster: Cluster, workload: str, uid: str, token: str, replicas: int) -> None:
    """Set back what `set_scale` did for this token."""
    try:
        ref, _ = cluster.locate(*split(workload), uid)
        said = undo_change(cluster, ref, token, lambda _: replicas)
    except GoneError:
        return
    if said:
        _LOGGER.warning(said)
