"""What we must be allowed to do: one table for roles, for the check before a run, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from faultload.targets.base import (
    ADD_LOAD,
    ASK_CHAOSK8S,
    BAD_RELEASE,
    CORDON_NODE,
    DELETE_REPLICA,
    DRAIN_NODE,
    EVICT_REPLICA,
    KILL_REPLICA,
    PARTITION,
    ROLL_OUT,
    SCALE,
    SCALE_WORKLOAD,
    TERMINATE_PODS,
)
from faultload.targets.kubernetes.api import Object
from faultload.targets.kubernetes.cluster import SYSTEM_NAMESPACE, Cluster
from faultload.targets.kubernetes.resources import (
    ACCESS_REVIEWS,
    AUTOSCALERS,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    Resource,
)

EVERY_RUN = "every run"
"""What no run does without, whatever its faults need."""

Scope = Literal["namespaces", "cluster", "names"]
Rule = dict[str, list[str]]


@dataclass(frozen=True)
class Right:
    """One thing to be allowed.

    Attributes:
        verb: as in a role.
        kind: of what.
        subresource: "" for the object itself.
        scope: in each of our namespaces; in the whole cluster; `names`: only our namespaces and
            kube-system as objects, which a cluster role names.
    """

    verb: str
    kind: Resource
    subresource: str = ""
    scope: Scope = "namespaces"

    @property
    def resource(self) -> str:
        """As in a role."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


def _of(
    kind: Resource, verbs: str, subresource: str = "", scope: Scope = "namespaces"
) -> list[Right]:
    return [Right(verb, kind, subresource, scope) for verb in verbs.split()]


_CHANGE_NODES = _of(NODES, "get patch", scope="cluster")

_SCALING = [
    *_of(DEPLOYMENTS, "get list patch"),
    *_of(STATEFUL_SETS, "get list patch"),
    *_of(REPLICA_SETS, "get list patch"),
    *_of(AUTOSCALERS, "list"),
]

RIGHTS: Mapping[str, Sequence[Right]] = {
    EVERY_RUN: [
        *_of(NAMESPACES, "get", scope="names"),
        *_of(NODES, "list", scope="cluster"),
        *_of(PODS, "get list"),
        *_of(PODS, "get", "log"),
        *_of(EVENTS, "list"),
        *_of(LEASES, "get create patch"),
    ],
    KILL_REPLICA: _of(PODS, "delete"),
    DELETE_REPLICA: _of(PODS, "delete"),
    EVICT_REPLICA: _of(PODS, "create", "eviction"),
    CORDON_NODE: _CHANGE_NODES,
    DRAIN_NODE: [
        *_CHANGE_NODES,
        *_of(PODS, "list", scope="cluster"),
        *_of(PODS, "create", "eviction"),
    ],
    SCALE: _SCALING,
    ROLL_OUT: [
        *_of(DEPLOYMENTS, "get list patch"),
        *_of(STATEFUL_SETS, "get list patch"),
        *_of(REPLICA_SETS, "list"),
        *_of(AUTOSCALERS, "list"),
    ],
    BAD_RELEASE: [
        *_of(DEPLOYMENTS, "get list patch"),
        *_of(STATEFUL_SETS, "get list"),
        *_of(REPLICA_SETS, "get list patch delete"),
        *_of(AUTOSCALERS, "list"),
    ],
    PARTITION: [
        *_of(PODS, "patch"),
        *_of(NETWORK_POLICIES, "get list create delete"),
    ],
    TERMINATE_PODS: _of(PODS, "delete"),
    SCALE_WORKLOAD: _SCALING,
    ADD_LOAD: [],  # it comes in by the front door
    ASK_CHAOSK8S: [],  # what a probe needs is the probe's own (docs/kubernetes-target.md)
}
"""Capability → what it needs besides `EVERY_RUN`'s. The capabilities that the target offers."""

KUBERNETES_CAPABILITIES = frozenset(RIGHTS) - {EVERY_RUN}
"""Everything that the API can do: it reaches no process inside a pod, and no GPU."""


def rules_for(
    capabilities: Iterable[str], namespaces: Sequence[str]
) -> tuple[list[Rule], list[Rule]]:
    """Return the rules of a Role for each of our namespaces, and those of one ClusterRole.

    Args:
        capabilities: that are to be used.
        namespaces: of the target file.
    """
    needed = [right for _, right in _needed(capabilities)]
    names = sorted({SYSTEM_NAMESPACE, *namespaces})
    role = _rules(_scoped(needed, "namespaces"))
    named = [rule | {"resourceNames": names} for rule in _rules(_scoped(needed, "names"))]
    return role, [*_rules(_scoped(needed, "cluster")), *named]


def _scoped(rights: Iterable[Right], scope: Scope) -> list[Right]:
    return [right for right in rights if right.scope == scope]


def _rules(rights: Iterable[Right]) -> list[Rule]:
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        known = verbs.setdefault((right.kind.group, right.resource), [])
        if right.verb not in known:
            known.append(right.verb)
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": found}
        for (group, resource), found in verbs.items()
    ]


def _needed(capabilities: Iterable[str]) -> Iterator[tuple[str, Right]]:
    for capability in (EVERY_RUN, *sorted(set(capabilities))):
        for right in RIGHTS.get(capability, ()):
            yield capability, right


def missing_rights(cluster: Cluster, capabilities: Iterable[str]) -> Sequence[str]:
    """Ask the API about every right, in every namespace; return a line for each that we lack."""
    places: Mapping[Scope, Sequence[str]] = {
        "namespaces": cluster.namespaces,
        "cluster": [""],
        "names": [SYSTEM_NAMESPACE, *cluster.namespaces],
    }
    needed_for: dict[tuple[Right, str], list[str]] = {}
    for capability, right in _needed(capabilities):
        for place in places[right.scope]:
            needed_for.setdefault((right, place), []).append(capability)
    lines = []
    for (right, place), why in needed_for.items():
        if not _is_allowed(cluster, right, place):
            lines.append(f"may not {_words(right, place)} (needed for {', '.join(why)})")
    return lines


def _is_allowed(cluster: Cluster, right: Right, place: str) -> bool:
    attributes = {
        "verb": right.verb,
        "group": right.kind.group,
        "resource": right.kind.plural,
        "subresource": right.subresource,
        "namespace": place,
    }
    if right.scope == "names":
        attributes["name"] = place
    body: Object = {"spec": {"resourceAttributes": attributes}}
    return bool(cluster.api.create(ACCESS_REVIEWS, "", body)["status"].get("allowed"))


def _words(right: Right, place: str) -> str:
    if right.scope == "names":
        return f"{right.verb} namespace {place}"
    where = f"in namespace {place}" if place else "in the whole cluster"
    return f"{right.verb} {right.resource} {where}"
