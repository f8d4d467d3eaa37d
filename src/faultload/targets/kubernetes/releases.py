"""Rolling updates: how far one is, beginning one, releasing what cannot run, and rolling back."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from faultload.errors import FaultError
from faultload.targets.base import Mark
from faultload.targets.kubernetes.api import GoneError, Object
from faultload.targets.kubernetes.cluster import (
    Cluster,
    controller_of,
    has_condition,
    has_finished,
    name_of,
)
from faultload.targets.kubernetes.marks import Field, Undo, changed, check_free
from faultload.targets.kubernetes.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from faultload.targets.kubernetes.workloads import has_observed, split, undo_change, wanted
from faultload.targets.release_acts import Flaw, Rollout

RELEASED_BY = "faultload.dev/released-by"
"""Annotation of a pod template: the injection that had its pods replaced."""
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_REVISION_HASH = "controller-revision-hash"
_TEMPLATE_HASH = "pod-template-hash"
_ANNOTATIONS = ("spec", "template", "metadata", "annotations")
_CONTAINERS = ("spec", "template", "spec", "containers")
_TEXT_MAX = 300
_LOGGER = logging.getLogger(__name__)


def rollout(cluster: Cluster, workload: str, uid: str) -> Rollout | None:
    """Return how far a workload is, counted on its pods; None: it is gone.

    A revision is named as its replica set or controller revision is; "" until that is there.
    """
    try:
        ref, seen = cluster.locate(*split(workload), uid)
    except GoneError:
        return None
    labels = (seen["spec"]["selector"].get("matchLabels") or {}).items()
    selector = ",".join(f"{key}={value}" for key, value in labels)
    pods = cluster.api.list_all(PODS, ref.namespace, labels=selector)
    if ref.kind is DEPLOYMENTS:
        owned = [one for one in cluster.api.list_all(REPLICA_SETS, ref.namespace) if _is(one, uid)]
        revision, kept, updated = _of_deployment(seen, owned, pods)
    else:
        revision, kept, updated = _of_stateful_set(seen, pods)
    return Rollout(
        revision=revision,
        wanted=wanted(seen),
        updated=len(updated),
        updated_ready=sum(has_condition(pod, "Ready") for pod in updated),
        ready=sum(has_condition(pod, "Ready") for pod in kept),
        stalled=is_stalled(seen),
        token=_token_of(seen),
        max_unavailable=max_unavailable(ref.kind.kind, seen),
        waits_for=waits_for(seen, updated),
    )


def _of_deployment(
    seen: Object, owned: Iterable[Object], pods: Iterable[Object]
) -> tuple[str, list[Object], list[Object]]:
    """Return the current revision, the pods of all revisions, and those of the current one."""
    sets = {one["metadata"]["uid"]: one for one in owned}
    current = [one for one in sets.values() if _without_hash(one) == _without_hash(seen)]
    kept = [pod for pod in pods if _stays(pod) and _owner(pod) in sets]
    of_current = {one["metadata"]["uid"] for one in current}
    name = name_of(current[0]) if current else ""
    return name, kept, [pod for pod in kept if _owner(pod) in of_current]


def _of_stateful_set(
    seen: Object, pods: Iterable[Object]
) -> tuple[str, list[Object], list[Object]]:
    """Return the same of a stateful set, whose controller says which revision is current."""
    status = seen.get("status") or {}
    revision = str(status.get("updateRevision") or "") if has_observed(seen) else ""
    kept = [pod for pod in pods if _stays(pod) and _owner(pod) == seen["metadata"]["uid"]]
    named = [pod for pod in kept if pod["metadata"]["labels"].get(_REVISION_HASH) == revision]
    return revision, kept, named


def _without_hash(seen: Object) -> Object:
    """Return a pod template as its deployment has it: replica sets add a label."""
    template: Object = seen["spec"]["template"]
    labels = template["metadata"].get("labels") or {}
    labels = {key: value for key, value in labels.items() if key != _TEMPLATE_HASH}
    return template | {"metadata": template["metadata"] | {"labels": labels}}


def _stays(pod: Object) -> bool:
    return not has_finished(pod) and not pod["metadata"].get("deletionTimestamp")


def _owner(pod: Object) -> str:
    return str((controller_of(pod) or {}).get("uid", ""))


def _is(owned: Object, uid: str) -> bool:
    return _owner(owned) == uid


def _token_of(seen: Object) -> str:
    """Return the injection whose release the current revision is; "" for anybody else's."""
    undo = Undo.of(seen)
    if undo is not None and undo.field[:4] == _CONTAINERS:
        return undo.token if Field(undo.field).read(seen) == undo.now else ""
    return str((Field(_ANNOTATIONS).read(seen) or {}).get(RELEASED_BY, ""))


def is_stalled(seen: Object) -> bool:
    """Tell whether a workload's controller has given up waiting, for what it is to be now."""
    return has_observed(seen) and any(
        condition.get("type") == "Progressing"
        and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in (seen.get("status") or {}).get("conditions") or []
    )


def max_unavailable(kind: str, seen: Object) -> int | None:
    """Return how many pods a rollout of the workload may take before others are ready."""
    replicas = wanted(seen)
    if kind != DEPLOYMENTS.kind:
        rolling = (seen["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        return min(replicas, max(1, _share(rolling.get("maxUnavailable", 1), replicas, math.ceil)))
    strategy = seen["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return replicas
    rolling = strategy.get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    most = _share(rolling.get("maxUnavailable", "25%"), replicas, math.floor)
    # With neither a rollout could not move; Kubernetes takes one, then.
    return min(replicas, most if most or surge else 1)


def _share(given: int | str, of: int, rounded: Any) -> int:
    if isinstance(given, str):
        return int(rounded(int(given.rstrip("%")) * of / 100))
    return given


def waits_for(seen: Object, updated: Iterable[Object]) -> str:
    """Return why pods are not ready or not made, in Kubernetes' words, each reason once."""
    waiting = [pod for pod in updated if not has_condition(pod, "Ready")]
    failures = [
        _words(condition)
        for condition in (seen.get("status") or {}).get("conditions") or []
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True"
    ]
    found = [*(_why(pod) for pod in waiting), *failures]
    return "; ".join(dict.fromkeys(found))[:_TEXT_MAX]


def _why(pod: Object) -> str:
    status = pod.get("status") or {}
    containers = [
        state
        for key in ("initContainerStatuses", "containerStatuses")
        for container in status.get(key) or []
        for state in [container.get("state") or {}]
        if not container.get("ready")
    ]
    for kind in ("waiting", "terminated"):
        for state in containers:
            # An init container that did its work has ended, too.
            if state.get(kind) and not (kind == "terminated" and not state[kind].get("exitCode")):
                return _words(state[kind])
    conditions = status.get("conditions") or []
    for kind in ("PodScheduled", "Ready"):
        for condition in conditions:
            if condition.get("type") == kind and condition.get("status") != "True":
                return _words(condition)
    return str(status.get("phase") or "Pending")


def _words(said: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, [said.get("reason"), said.get("message")]))


def roll_out(cluster: Cluster, workload: str, uid: str, mark: Mark) -> None:
    """Replace all pods of a workload, as `kubectl rollout restart` does.

    The annotations that do it stay: without them the template would be another again, and every
    pod would be replaced once more.

    Raises:
        FaultError: it is gone, or nothing would come of it.
    """
    ref, _ = cluster.locate(*split(workload), uid)
    now_s = cluster.api.now_unix_s()
    now = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    annotations = {RESTARTED_AT: now, RELEASED_BY: mark.token}

    def change(seen: Object) -> Object | None:
        if (Field(_ANNOTATIONS).read(seen) or {}).get(RELEASED_BY) == mark.token:
            return None
        _check_it_rolls(workload, seen)
        check_free(seen, mark, now_s)
        return Field(_ANNOTATIONS).patch(seen, annotations)

    cluster.api.amend(ref, change)


def _check_it_rolls(workload: str, seen: Object) -> None:
    spec = seen["spec"]
    strategy = spec.get("updateStrategy") or {}
    partition = (strategy.get("rollingUpdate") or {}).get("partition")
    if spec.get("paused"):
        why = "is paused"
    elif strategy.get("type") == "OnDelete":
        why = "replaces no pod before somebody deletes it (OnDelete)"
    elif partition:
        why = f"keeps the revision of every pod below {partition} (partition)"
    else:
        return
    raise FaultError(f"{workload} {why}: a rollout would not come to its end")


def release(cluster: Cluster, workload: str, uid: str, flaw: Flaw, mark: Mark) -> None:
    """Give the pod template an image that is nowhere, or a command that ends at once.

    One field of one container: that which `kubectl` takes by default, else the first.

    Raises:
        FaultError: it is gone, cannot be rolled back, or there is no such flaw here.
    """
    kind, name = split(workload)
    if kind is not DEPLOYMENTS:
        raise FaultError(
            f"{workload} is given no bad release: the controller of a {kind.kind} may wait for a"
            " broken pod even once that was rolled back, until somebody deletes it"
        )
    field, value = _flaw(flaw, mark.token)
    ref, _ = cluster.locate(kind, name, uid)
    now_s = cluster.api.now_unix_s()

    def change(seen: Object) -> Object | None:
        _check_it_rolls(workload, seen)
        place = Field((*_CONTAINERS, main_container(seen), field))
        return changed(seen, place, value, mark, now_s)

    cluster.api.amend(ref, change)


def _flaw(flaw: Flaw, token: str) -> tuple[str, Any]:
    """Return the field of a container, and the value that no other injection gives it."""
    if flaw == "unpullable":
        # No name under this top-level domain exists (RFC 6761, 6.4).
        return "image", f"faultload.invalid/no-such-image:{token}"
    if flaw == "crashing":
        # It ends with 1, or, where the image lacks it, cannot be started at all.
        return "command", ["/bin/false", token]
    raise FaultError(
        f"this target makes no {flaw} release: an image and arguments that slow any server down do"
        " not exist; it makes unpullable and crashing ones"
    )


def main_container(seen: Object) -> str:
    """Return the container of a pod template that is meant where none is named."""
    names = [str(container["name"]) for container in Field(_CONTAINERS).read(seen)]
    chosen = (Field(_ANNOTATIONS).read(seen) or {}).get(_DEFAULT_CONTAINER)
    return chosen if chosen in names else names[0]


def roll_back(cluster: Cluster, workload: str, uid: str, token: str) -> None:
    """Set back what `release` did for this token; a field that is another by now stays so."""
    try:
        ref, _ = cluster.locate(*split(workload), uid)
        said = undo_change(cluster, ref, token)
    except GoneError:
        return
    if said:
        _LOGGER.warning(said)
