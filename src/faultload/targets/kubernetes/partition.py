"""Cutting pods off from the network: a policy that allows nothing, and a label that it selects."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from faultload.errors import FaultError
from faultload.spec import labels as selectors
from faultload.targets.base import Mark
from faultload.targets.kubernetes.api import ApiError, GoneError, Object
from faultload.targets.kubernetes.cluster import Cluster, name_of
from faultload.targets.kubernetes.marks import UNDO, Field, Undo, changed, restored
from faultload.targets.kubernetes.resources import NETWORK_POLICIES, PODS, Ref

LABEL = "faultload.dev/partition"
CUT = Field(("metadata", "labels", LABEL))
_BOTH_WAYS = ["Ingress", "Egress"]


def partition(cluster: Cluster, victims: Sequence[tuple[str, str]], mark: Mark) -> None:
    """Cut pods (name, uid) off: first the labels, then one policy a namespace, so all at once.

    Raises:
        FaultError: a victim is gone, or another policy would let traffic through to it.
    """
    found = [cluster.locate(PODS, name, uid) for name, uid in victims]
    namespaces = sorted({ref.namespace for ref, _ in found})
    for namespace in namespaces:
        _check_alone(cluster, [pod for ref, pod in found if ref.namespace == namespace], mark.token)
    now_s = cluster.api.now_unix_s()
    for ref, _ in found:
        cluster.api.amend(ref, lambda seen: changed(seen, CUT, mark.token, mark, now_s))
    for namespace in namespaces:
        _create_policy(cluster, namespace, mark)


def _check_alone(cluster: Cluster, pods: Sequence[Object], token: str) -> None:
    """See that no other policy of the pods' namespace allows what ours would not."""
    namespace = pods[0]["metadata"]["namespace"]
    for policy in cluster.api.list_all(NETWORK_POLICIES, namespace):
        if not lets_through(policy["spec"]) or name_of(policy) == policy_name(token):
            continue
        chosen = selectors.of_object(policy["spec"].get("podSelector"))
        for pod in pods:
            if selectors.matches(chosen, pod["metadata"].get("labels")):
                raise FaultError(
                    f"pod {name_of(pod)} cannot be cut off: network policy {name_of(policy)} lets"
                    " traffic through, and policies add up"
                )


def lets_through(spec: Mapping[str, Any]) -> bool:
    """Tell whether a policy allows any traffic; one without rules for a direction allows none."""
    return bool(spec.get("ingress") or spec.get("egress"))


def policy_name(token: str) -> str:
    """Return the name of a token's policy."""
    return "faultload-" + re.sub(r"[^a-z0-9]+", "-", token.lower()).strip("-")[:200]


def _create_policy(cluster: Cluster, namespace: str, mark: Mark) -> None:
    name = policy_name(mark.token)
    body = {
        "metadata": {
            "name": name,
            "annotations": {UNDO: Undo.new(mark, was=None, now=name).text()},
        },
        "spec": {
            "podSelector": {"matchLabels": {LABEL: mark.token}},
            "policyTypes": _BOTH_WAYS,
        },
    }
    try:
        cluster.api.create(NETWORK_POLICIES, namespace, body)
    except ApiError as error:
        if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise FaultError(f"network policy {name}: {error.message}") from None
        if error.status != HTTPStatus.CONFLICT:
            raise
        found = cluster.api.find(Ref(NETWORK_POLICIES, namespace, name))
        undo = Undo.of(found) if found is not None else None
        if undo is None or undo.token != mark.token:
            raise FaultError(f"there is a network policy {name} already, not ours") from None


def join(cluster: Cluster, victims: Sequence[tuple[str, str]], token: str) -> None:
    """Undo the partition of a token, also one that was only half made.

    Whatever has its label is joined, and the victims (name, uid) even where they lost it.
    """
    for namespace in cluster.namespaces:
        policy = cluster.api.find(Ref(NETWORK_POLICIES, namespace, policy_name(token)))
        if policy is not None:
            remove_policy(cluster, policy, token)
        for pod in cluster.api.list_all(PODS, namespace, labels=f"{LABEL}={token}"):
            unlabel(cluster, Ref.of(PODS, pod), token)
    for name, uid in victims:
        with contextlib.suppress(GoneError):
            unlabel(cluster, cluster.locate(PODS, name, uid)[0], token)


def remove_policy(cluster: Cluster, policy: Object, token: str) -> None:
    """Delete a policy that is the token's; another's is left alone."""
    undo = Undo.of(policy)
    if undo is None or undo.token != token:
        return
    with contextlib.suppress(GoneError):
        cluster.api.delete(Ref.of(NETWORK_POLICIES, policy))


def unlabel(cluster: Cluster, ref: Ref, token: str) -> None:
    """Take the token's label from a pod."""

    def change(seen: Object) -> Object | None:
        undo = Undo.of(seen)
        if undo is None or undo.token != token:
            return None
        return restored(seen, CUT, undo, undo.was)[0]

    with contextlib.suppress(GoneError):
        cluster.api.amend(ref, change)


def partitioned(cluster: Cluster, token: str) -> Collection[str]:
    """Return the uids of the pods that the token's policies select now."""
    uids = set()
    for namespace in cluster.namespaces:
        policy = cluster.api.find(Ref(NETWORK_POLICIES, namespace, policy_name(token)))
        if policy is None or lets_through(policy["spec"]):
            continue
        chosen = selectors.of_object(policy["spec"].get("podSelector"))
        pods = cluster.api.list_all(PODS, namespace)
        uids |= {
            pod["metadata"]["uid"]
            for pod in pods
            if selectors.matches(chosen, pod["metadata"].get("labels"))
        }
    return uids
