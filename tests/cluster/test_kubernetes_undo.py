"""Cutting pods off, and undoing from the marks alone what a harness left."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kube_objects import wait_for
from kube_targets import nothing_else_changes
from kubelet import Kubelet
from kubernetes import client

from faultload.errors import FaultError, RefusedError
from faultload.targets import Mark
from faultload.targets.kubernetes import KubernetesTarget
from faultload.targets.kubernetes.marks import UNDO
from faultload.targets.kubernetes.partition import LABEL

OURS = Mark("partition-1a2b3c4d", time.time() + 3600)
THEIRS = Mark("partition-99999999", time.time() + 3600)

pytestmark = pytest.mark.usefixtures("controllers")


def first(target: KubernetesTarget) -> tuple[str, str]:
    """Return name and uid of a replica."""
    replica = target.replicas("engine")[0]
    return replica.name, replica.uid


def test_a_partition_selects_its_victims_alone(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """One policy that allows nothing, for the label that only the victims have; all of it goes."""
    victim = first(target)
    with nothing_else_changes(admin, namespace):
        for _ in range(2):
            target.partition([victim], OURS)
        policies = client.NetworkingV1Api(admin)
        (policy,) = policies.list_namespaced_network_policy(namespace).items
        assert sorted(policy.spec.policy_types) == ["Egress", "Ingress"]
        assert (policy.spec.ingress, policy.spec.egress) == (None, None)
        assert set(target.partitioned(OURS.token)) == {victim[1]}
        assert target.partitioned(THEIRS.token) == set()
        target.join([victim], THEIRS.token)
        assert set(target.partitioned(OURS.token)) == {victim[1]}
        opened: dict[str, Any] = {"spec": {"ingress": [{}]}}
        policies.patch_namespaced_network_policy(policy.metadata.name, namespace, opened)
        assert target.partitioned(OURS.token) == set()
        for _ in range(2):
            target.join([victim], OURS.token)
        assert target.partitioned(OURS.token) == set()


def test_a_partition_half_made_is_joined(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """Labels without a policy cut nobody off; a policy without labels neither; both go."""
    one, two = [(r.name, r.uid) for r in target.replicas("engine")]
    with nothing_else_changes(admin, namespace):
        with pytest.raises(FaultError, match="is gone"):
            target.partition([one, (two[0], "00000000-0000-0000-0000-000000000000")], OURS)
        target.partition([one, two], OURS)
        policies = client.NetworkingV1Api(admin)
        (policy,) = policies.list_namespaced_network_policy(namespace).items
        policies.delete_namespaced_network_policy(policy.metadata.name, namespace)
        assert target.partitioned(OURS.token) == set()
        target.join([], OURS.token)


def test_a_join_minds_no_victim_that_is_gone(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """The policy goes although its victim went before; the replacement was never cut off."""
    victim = first(target)
    target.partition([victim], OURS)
    with Kubelet(admin, namespace):
        target.kill_replica(*victim)
        assert target.partitioned(OURS.token) == set()
        target.join([victim], OURS.token)
    assert not client.NetworkingV1Api(admin).list_namespaced_network_policy(namespace).items


def test_policies_add_up_so_an_open_one_refuses_a_partition(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """Where another policy lets traffic through, ours cuts nothing off: nothing is done."""
    spec = {"podSelector": {"matchLabels": {"app": "engine"}}, "ingress": [{}]}
    client.NetworkingV1Api(admin).create_namespaced_network_policy(
        namespace, {"metadata": {"name": "allow"}, "spec": spec}
    )
    with (
        nothing_else_changes(admin, namespace),
        pytest.raises(FaultError, match="network policy allow lets traffic through"),
    ):
        target.partition([first(target)], OURS)


def test_what_expired_is_undone_from_the_marks_alone(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """Every kind of change, by somebody who knows nothing of the injections."""
    (workload,) = target.workloads("engine", None)
    (node,) = [node for node in target.nodes() if node.name == "node"]
    with Kubelet(admin, namespace), nothing_else_changes(admin, namespace, but="pods"):
        target.cordon_node(node.name, node.uid, Mark("cordon", 1000.0))
        target.set_scale(workload.name, workload.uid, 1, Mark("scale", 1000.0))
        wait_for(lambda: len(target.replicas("engine")) == 1, "one engine")
        target.partition([first(target)], Mark("cut", 1000.0))
        assert target.revert_expired(999.0) == []
        lines = target.revert_expired(1000.0)
        assert target.revert_expired(1000.0) == []
        wait_for(lambda: sum(r.ready for r in target.replicas("engine")) == 2, "two engines")
    pods = client.CoreV1Api(admin).list_namespaced_pod(namespace).items
    assert not any(UNDO in (pod.metadata.annotations or {}) for pod in pods)
    assert not any(LABEL in pod.metadata.labels for pod in pods)
    said = "\n".join(lines)
    for what in ("nodes node: undid cordon", "deployments engine", "networkpolicies", "pods"):
        assert what in said


def test_what_cannot_be_undone_is_told_after_the_rest_was(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """A mark that nobody can read stops none of the others, and is for a person to see to."""
    (node,) = [node for node in target.nodes() if node.name == "node"]
    target.cordon_node(node.name, node.uid, Mark("cordon", 1000.0))
    annotations = {"metadata": {"annotations": {UNDO: "by hand"}}}
    client.AppsV1Api(admin).patch_namespaced_deployment("engine", namespace, annotations)

    with pytest.raises(FaultError, match=r"still in force: .*engine: .*none of ours: 'by hand'"):
        target.revert_expired(1000.0)
    assert next(node for node in target.nodes() if node.name == "node").schedulable
    (workload,) = target.workloads("engine", None)
    with pytest.raises(RefusedError, match="none of ours"):
        target.set_scale(workload.name, workload.uid, 3, OURS)
