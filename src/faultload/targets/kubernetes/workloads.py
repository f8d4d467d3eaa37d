"""Workloads as they are named, and taking back what was changed on one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from faultload.errors import FaultError
from faultload.targets.kubernetes.api import GoneError, Object
from faultload.targets.kubernetes.cluster import Cluster
from faultload.targets.kubernetes.marks import UNDO, Field, Undo, restored, unmarked
from faultload.targets.kubernetes.resources import (
    DEPLOYMENTS,
    REPLICA_SETS,
    WORKLOADS,
    Ref,
    Resource,
)

REPLICAS = Field(("spec", "replicas"))
_SETTLED_TIMEOUT_S = 30.0
_LOOK_S = 0.1
_LOGGER = logging.getLogger(__name__)


def split(workload: str) -> tuple[Resource, str]:
    """Return kind and name of a workload as faults name it.

    Raises:
        FaultError: it is none.
    """
    kind, _, name = workload.partition("/")
    for known in WORKLOADS:
        if known.kind.lower() == kind and name:
            return known, name
    kinds = " or ".join(f"{known.kind.lower()}/NAME" for known in WORKLOADS)
    raise FaultError(f"expected {kinds}, found {workload!r}")


def wanted(seen: Object) -> int:
    """Return how many pods a workload is to have; the API takes none given for one."""
    replicas = REPLICAS.read(seen)
    return 1 if replicas is None else int(replicas)


def has_observed(seen: Object) -> bool:
    """Tell whether a workload's controller has seen it as it is now."""
    observed = (seen.get("status") or {}).get("observedGeneration") or 0
    return bool(observed >= seen["metadata"]["generation"])


def undo_change(
    cluster: Cluster, ref: Ref, token: str, to: Callable[[Undo], Any] = lambda undo: undo.was
) -> str:
    """Set back the change of a token; return what is to be said of it.

    Args:
        cluster: where.
        ref: the workload.
        token: any other's change is left alone.
        to: what the mark says → the value to set.

    Raises:
        GoneError: the workload is.
    """
    said = ""

    def change(seen: Object) -> Object | None:
        nonlocal said
        undo = Undo.of(seen)
        if undo is None or undo.token != token:
            return None
        patch, said = restored(seen, Field(undo.field or REPLICAS.path), undo, to(undo))
        return patch

    cluster.api.amend(ref, change)
    if ref.kind is DEPLOYMENTS:
        # Its controller must know, or it copies the mark again and makes the replica set anew.
        _wait(cluster, ref, has_observed)
        sweep_copies(cluster, ref.namespace, token)
    return said


def sweep_copies(cluster: Cluster, namespace: str, token: str) -> None:
    """Remove what the deployment controller made of a mark on replica sets.

    It copies a deployment's annotations to them, and never removes them; `kubectl rollout undo`
    would copy them back. It also keeps the replica set of a release that was rolled back: that
    would be the one which `kubectl rollout undo` returns to, so it goes as a whole once it is
    empty.
    """
    for found in cluster.api.list_all(REPLICA_SETS, namespace):
        if UNDO not in (found["metadata"].get("annotations") or {}):
            continue
        ref, undo = Ref.of(REPLICA_SETS, found), Undo.of(found)
        if undo is None or undo.token != token:
            continue
        try:
            if undo.field in ((), REPLICAS.path) or Field(undo.field).read(found) != undo.now:
                cluster.api.amend(ref, lambda seen: _without_copy(seen, token))
            elif _wait(cluster, ref, _is_empty):
                cluster.api.delete(ref)
            else:
                _LOGGER.warning("%s keeps pods of %s, or is gone", ref.words(), token)
        except GoneError:
            continue


def _without_copy(seen: Object, token: str) -> Object | None:
    undo = Undo.of(seen)
    return unmarked() if undo is not None and undo.token == token else None


def _is_empty(replica_set: Object) -> bool:
    status = replica_set.get("status") or {}
    return wanted(replica_set) == 0 and not status.get("replicas")


def _wait(cluster: Cluster, ref: Ref, holds: Callable[[Object], bool]) -> bool:
    """Return whether something soon holds of an object; False, too, when that is gone."""
    deadline = time.monotonic() + _SETTLED_TIMEOUT_S
    while time.monotonic() < deadline:
        seen = cluster.api.find(ref)
        if seen is None:
            return False
        if holds(seen):
            return True
        time.sleep(_LOOK_S)
    return False
