"""Undoing what a harness left and never came back for, from the marks on the objects alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from http import HTTPStatus

from faultload.errors import FaultError, FaultloadError
from faultload.targets.kubernetes import nodes, partition, workloads
from faultload.targets.kubernetes.api import ApiError, GoneError, Object
from faultload.targets.kubernetes.cluster import Cluster
from faultload.targets.kubernetes.marks import UNDO, Undo
from faultload.targets.kubernetes.resources import (
    NETWORK_POLICIES,
    NODES,
    PODS,
    REPLICA_SETS,
    WORKLOADS,
    Ref,
    Resource,
)

_LOGGER = logging.getLogger(__name__)


def revert_expired(cluster: Cluster, now_unix_s: float) -> Sequence[str]:
    """Undo every change of an expired mark; say what was done, a line each.

    Kinds that we may not list are passed over, with a warning: whoever may not read them changed
    none of them, and somebody else may have.

    Raises:
        FaultError: after all were tried, what could not be undone.
    """
    done, problems = list[str](), list[str]()
    # Policies before pods, workloads before their replica sets: what does the harm goes first.
    kinds = (NETWORK_POLICIES, PODS, *WORKLOADS, REPLICA_SETS)
    places = [(NODES, ""), *_places(cluster, kinds)]
    for kind, seen in _marked(places, cluster, logging.WARNING):
        what = Ref.of(kind, seen).words()
        try:
            undo = Undo.of(seen)
            if undo is None or undo.expires_unix_s > now_unix_s:
                continue
            said = _undo(cluster, kind, seen, undo)
            done.append(f"{what}: undid {undo.token} of {undo.by}" + (f"; {said}" if said else ""))
        except GoneError:
            continue
        except FaultloadError as error:
            problems.append(f"{what}: {error}")
    if problems:
        raise FaultError("still in force: " + "; ".join(problems))
    return done


def left_behind(cluster: Cluster) -> Sequence[str]:
    """Return the changes that marks in our namespaces say are in force, a line each.

    Nodes are others' too: a mark there may be that of a run on another target. What we may not
    list is not looked at.
    """
    found = _marked(_places(cluster, (NETWORK_POLICIES, PODS, *WORKLOADS)), cluster, logging.DEBUG)
    return [_said(kind, seen) for kind, seen in found]


def _said(kind: Resource, seen: Object) -> str:
    what, undo = Ref.of(kind, seen).words(), Undo.of(seen)
    return what if undo is None else f"{what}: {undo.token} of {undo.by}"


def _places(cluster: Cluster, kinds: Sequence[Resource]) -> list[tuple[Resource, str]]:
    return [(kind, namespace) for namespace in cluster.namespaces for kind in kinds]


def _marked(
    places: Sequence[tuple[Resource, str]], cluster: Cluster, level: int
) -> Iterator[tuple[Resource, Object]]:
    for kind, namespace in places:
        try:
            found = cluster.api.list_all(kind, namespace)
        except ApiError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            _LOGGER.log(level, "%s: not looked at: %s", kind.words(namespace), error)
            continue
        for seen in found:
            if UNDO in (seen["metadata"].get("annotations") or {}):
                yield kind, seen


def _undo(cluster: Cluster, kind: Resource, seen: Object, undo: Undo) -> str:
    """Undo what one object's mark says; return what is to be said of it."""
    ref = Ref.of(kind, seen)
    if kind is NODES:
        return nodes.undo_cordon(cluster, ref, undo.token)
    if kind in WORKLOADS:
        return workloads.undo_change(cluster, ref, undo.token)
    if kind is NETWORK_POLICIES:
        partition.remove_policy(cluster, seen, undo.token)
    elif kind is PODS:
        partition.unlabel(cluster, ref, undo.token)
    else:
        workloads.sweep_copies(cluster, ref.namespace, undo.token)
    return ""
