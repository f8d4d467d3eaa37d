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
from faultload.targets.calls import EVERY_RUN, Calls
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


@dataclass(frozen=True)
class Steps:
    """What faults of one capability use, by step.

    Attributes:
        inject, revert: to do the harm, and to take it back.
        verify: to plan it, and to prove it there and gone, beside what every run reads.
    """

    inject: Sequence[Right] = ()
    verify: Sequence[Right] = ()
    revert: Sequence[Right] = ()

    def all(self) -> list[Right]:
        """Return what any of them uses, once each, what reads before what changes."""
        found = dict.fromkeys([*self.inject, *self.verify, *self.revert])
        return sorted(found, key=lambda right: _VERBS.index(right.verb))


_VERBS = ("get", "list", "create", "patch", "delete")

_EVERY_RUN = [
    *_of(NAMESPACES, "get", scope="names"),
    *_of(NODES, "list", scope="cluster"),
    *_of(PODS, "get list"),
    *_of(PODS, "get", "log"),
    *_of(EVENTS, "list"),
    *_of(LEASES, "get create patch"),
]
_DELETE = Steps(_of(PODS, "get delete"))
_CHANGE_NODES = _of(NODES, "get patch", scope="cluster")
_CHANGE_WORKLOADS = [*_of(DEPLOYMENTS, "get patch"), *_of(STATEFUL_SETS, "get patch")]
_FIND_WORKLOADS = [
    *_of(DEPLOYMENTS, "get list"),
    *_of(STATEFUL_SETS, "get list"),
    *_of(REPLICA_SETS, "list"),
    *_of(AUTOSCALERS, "list"),
]
_SCALING = Steps(
    [*_CHANGE_WORKLOADS, *_of(AUTOSCALERS, "list")],
    _FIND_WORKLOADS,
    [*_CHANGE_WORKLOADS, *_of(REPLICA_SETS, "get list patch")],
)

STEPS: Mapping[str, Steps] = {
    KILL_REPLICA: _DELETE,
    DELETE_REPLICA: _DELETE,
    EVICT_REPLICA: Steps([*_of(PODS, "get"), *_of(PODS, "create", "eviction")]),
    CORDON_NODE: Steps(_CHANGE_NODES, revert=_CHANGE_NODES),
    DRAIN_NODE: Steps(
        [
            *_CHANGE_NODES,
            *_of(PODS, "list", scope="cluster"),
            *_of(PODS, "get"),
            *_of(PODS, "create", "eviction"),
        ],
        _of(PODS, "list", scope="cluster"),
        _CHANGE_NODES,
    ),
    SCALE: _SCALING,
    ROLL_OUT: Steps(_CHANGE_WORKLOADS, _FIND_WORKLOADS),
    BAD_RELEASE: Steps(
        _of(DEPLOYMENTS, "get patch"),
        _FIND_WORKLOADS,
        [*_of(DEPLOYMENTS, "get patch"), *_of(REPLICA_SETS, "get list patch delete")],
    ),
    PARTITION: Steps(
        [*_of(PODS, "get patch"), *_of(NETWORK_POLICIES, "get list create")],
        _of(NETWORK_POLICIES, "get"),
        [*_of(PODS, "get list patch"), *_of(NETWORK_POLICIES, "get delete")],
    ),
    TERMINATE_PODS: _DELETE,
    SCALE_WORKLOAD: _SCALING,
    ADD_LOAD: Steps(),  # it comes in by the front door
    ASK_CHAOSK8S: Steps(),  # what a probe needs is the probe's own (docs/kubernetes-target.md)
}
"""Capability → what it uses. The capabilities that the target offers."""

RIGHTS: Mapping[str, Sequence[Right]] = {
    EVERY_RUN: _EVERY_RUN,
    **{
        capability: [right for right in steps.all() if right not in _EVERY_RUN]
        for capability, steps in STEPS.items()
    },
}
"""Capability → what it needs besides `EVERY_RUN`'s."""

KUBERNETES_CAPABILITIES = frozenset(STEPS)
"""Everything that the API can do: it reaches no process inside a pod, and no GPU."""


def calls_for(capability: str) -> Calls:
    """Return what is asked of the API for a capability, or for every run: verbs and resources."""
    if capability == ADD_LOAD:
        return Calls(
            ["POST {inference_url}/v1/chat/completions, by processes of ours"],
            revert=["ends our own sending processes"],
        )
    if capability == EVERY_RUN:
        locks = [right for right in _EVERY_RUN if right.kind is LEASES]
        reads = [right for right in _EVERY_RUN if right.kind is not LEASES]
        asks = [Right("create", ACCESS_REVIEWS, scope="cluster")]  # it keeps none of these
        return Calls(_lines(locks), _lines([*reads, *asks]))
    steps = STEPS.get(capability, Steps())
    return Calls(_lines(steps.inject), _lines(steps.verify), _lines(steps.revert))


def _lines(rights: Iterable[Right]) -> list[str]:
    """Return one line a resource: `get, patch nodes in the whole cluster`."""
    verbs: dict[tuple[str, Scope], list[str]] = {}
    for right in rights:
        verbs.setdefault((right.resource, right.scope), []).append(right.verb)
    where = {
        "namespaces": "in its namespaces",
        "cluster": "in the whole cluster",
        "names": "by name",
    }
    return [f"{', '.join(found)} {what} {where[scope]}" for (what, scope), found in verbs.items()]


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
