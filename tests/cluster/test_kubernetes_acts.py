"""Every act on a real cluster: what it does, that it can be undone, and that it touches no more."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from kube_objects import make_node, wait_for
from kube_targets import nothing_else_changes
from kubelet import Kubelet
from kubernetes import client

from faultload.errors import FaultError, RefusedError
from faultload.targets import Mark
from faultload.targets.kubernetes import KubernetesTarget
from faultload.targets.kubernetes.marks import UNDO

LABELS = {"app": "engine", "tier": "fast"}
OURS = Mark("scale-1a2b3c4d", time.time() + 3600)
THEIRS = Mark("scale-99999999", time.time() + 3600)
STALE = Mark("scale-00000000", time.time() - 1)

pytestmark = pytest.mark.usefixtures("controllers")


def first(target: KubernetesTarget) -> tuple[str, str]:
    """Return name and uid of a replica."""
    replica = target.replicas("engine")[0]
    return replica.name, replica.uid


def test_a_kill_is_at_once(target: KubernetesTarget, engines: None) -> None:
    """No kubelet is waited for: the API has forgotten the pod when the call returns."""
    name, uid = first(target)
    target.kill_replica(name, uid)
    assert uid not in {replica.uid for replica in target.replicas("engine")}
    with pytest.raises(FaultError, match="is gone"):
        target.kill_replica(name, uid)


def test_a_delete_leaves_the_pod_its_grace(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """Its own where none is given, at least a second else; twice is as good as once."""
    core = client.CoreV1Api(admin)
    for index, (grace_s, expected) in enumerate([(None, 40), (0.0, 1)]):
        name, uid = next((r.name, r.uid) for r in target.replicas("engine") if r.ready)
        target.delete_replica(name, uid, grace_s)
        target.delete_replica(name, uid, grace_s)
        pod = core.read_namespaced_pod(name, namespace)
        assert pod.metadata.deletion_grace_period_seconds == expected, index
        assert not next(r for r in target.replicas("engine") if r.uid == uid).ready


def test_an_eviction_asks_the_budget(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """Refused with the budget's words while it allows none, granted then, and granted again."""
    policy = client.PolicyV1Api(admin)
    budget = {"minAvailable": 2, "selector": {"matchLabels": LABELS}}
    policy.create_namespaced_pod_disruption_budget(
        namespace, {"metadata": {"name": "engine"}, "spec": budget}
    )

    def counted() -> bool:
        seen = policy.read_namespaced_pod_disruption_budget("engine", namespace)
        return bool(seen.status and seen.status.current_healthy == 2)

    wait_for(counted, "a budget that counts two")
    name, uid = first(target)

    with nothing_else_changes(admin, namespace):
        refusal = target.evict_replica(name, uid)
    assert refusal is not None
    assert "needs 2 healthy pods and has 2" in refusal.reason
    assert refusal.retry_after_s > 0

    policy.delete_namespaced_pod_disruption_budget("engine", namespace)
    assert target.evict_replica(name, uid) is None
    ending = client.CoreV1Api(admin).read_namespaced_pod(name, namespace)
    assert ending.metadata.deletion_timestamp
    assert target.evict_replica(name, uid) is None
    client.CoreV1Api(admin).delete_namespaced_pod(name, namespace, grace_period_seconds=0)
    assert target.evict_replica(name, uid) is None


def test_two_budgets_on_a_pod_are_said_as_the_api_says_it(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """The API can never evict such a pod: no waiting, a reason."""
    for name in ("one", "two"):
        budget = {"minAvailable": 0, "selector": {"matchLabels": LABELS}}
        client.PolicyV1Api(admin).create_namespaced_pod_disruption_budget(
            namespace, {"metadata": {"name": name}, "spec": budget}
        )
    with pytest.raises(FaultError, match="more than one PodDisruptionBudget"):
        target.evict_replica(*first(target))


Act = Callable[[KubernetesTarget, str, str], Any]


@pytest.mark.parametrize(
    "act",
    [
        lambda target, name, uid: target.kill_replica(name, uid),
        lambda target, name, uid: target.delete_replica(name, uid, None),
        lambda target, name, uid: target.partition([(name, uid)], OURS),
        lambda target, name, uid: target.cordon_node("node", uid, OURS),
        lambda target, name, uid: target.set_scale("deployment/engine", uid, 3, OURS),
        lambda target, name, uid: target.roll_out("deployment/engine", uid, OURS),
        lambda target, name, uid: target.release("deployment/engine", uid, "crashing", OURS),
    ],
    ids=["kill", "delete", "partition", "cordon", "scale", "roll out", "release"],
)
def test_a_replacement_is_never_hit(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None, act: Act
) -> None:
    """What has the name but not the uid is somebody else."""
    name, _ = first(target)
    with (
        nothing_else_changes(admin, namespace),
        pytest.raises(FaultError, match="is gone, or is another by now"),
    ):
        act(target, name, "00000000-0000-0000-0000-000000000000")


def test_the_api_holds_to_the_uid_that_we_saw(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """A pod replaced between our look and our act is spared by the API itself."""
    core, node = client.CoreV1Api(admin), make_node(admin, "node")
    pod = {
        "metadata": {"name": "engine-0", "labels": LABELS},
        "spec": {"containers": [{"name": "engine", "image": "example.com/engine:1"}]},
    }
    old = core.create_namespaced_pod(namespace, pod)
    locate = target._cluster.locate

    def replaced_meanwhile(kind: Any, name: str, uid: str) -> Any:
        found = locate(kind, name, uid)
        core.delete_namespaced_pod("engine-0", namespace, grace_period_seconds=0)
        core.create_namespaced_pod(namespace, pod)
        return found

    object.__setattr__(target._cluster, "locate", replaced_meanwhile)
    with pytest.raises(FaultError, match="is gone, or is another by now"):
        target.kill_replica("engine-0", old.metadata.uid)
    young = core.read_namespaced_pod("engine-0", namespace)
    assert target.evict_replica("engine-0", young.metadata.uid) is None
    assert core.read_namespaced_pod("engine-0", namespace).metadata.deletion_timestamp is None
    assert node.metadata.name == "node"


def test_a_cordon_is_undone_to_what_was(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """Marked while in force; afterwards no field, annotation or taint is left."""
    (node,) = [node for node in target.nodes() if node.name == "node"]
    core = client.CoreV1Api(admin)
    with nothing_else_changes(admin, namespace):
        for _ in range(2):
            target.cordon_node("node", node.uid, OURS)
        cordoned = core.read_node("node")
        undo = json.loads(cordoned.metadata.annotations[UNDO])
        assert cordoned.spec.unschedulable
        assert (undo["token"], undo["was"], undo["now"]) == (OURS.token, None, True)
        target.uncordon_node("node", node.uid, THEIRS.token)
        assert core.read_node("node").spec.unschedulable
        for _ in range(2):
            target.uncordon_node("node", node.uid, OURS.token)


def test_a_cordon_of_somebody_else_stays(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """A node that was cordoned before is no victim, and is cordoned after."""
    core = client.CoreV1Api(admin)
    core.patch_node("node", {"spec": {"unschedulable": True}})
    wait_for(lambda: core.read_node("node").spec.taints, "the taint of a cordon")
    uid = core.read_node("node").metadata.uid
    with nothing_else_changes(admin, namespace):
        with pytest.raises(FaultError, match="cordoned already, and not by us"):
            target.cordon_node("node", uid, OURS)
        target.uncordon_node("node", uid, OURS.token)


def test_a_scale_is_set_and_set_back(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """Up and back: the deployment and its replica set are as before.

    The deployment controller copies annotations to replica sets: our mark is swept there, too.
    """
    (workload,) = target.workloads("engine", "fast")
    apps = client.AppsV1Api(admin)

    def copied() -> bool:
        sets = apps.list_namespaced_replica_set(namespace).items
        return any(UNDO in rs.metadata.annotations for rs in sets)

    with Kubelet(admin, namespace), nothing_else_changes(admin, namespace, but="pods"):
        for _ in range(2):
            target.set_scale(workload.name, workload.uid, 3, OURS)
        assert target.workloads("engine", "fast")[0].wanted == 3
        wait_for(lambda: sum(r.ready for r in target.replicas("engine")) == 3, "three engines")
        wait_for(copied, "the mark's copy on the replica set")
        target.restore_scale(workload.name, workload.uid, THEIRS.token, 2)
        assert target.workloads("engine", "fast")[0].wanted == 3
        for _ in range(2):
            target.restore_scale(workload.name, workload.uid, OURS.token, 2)
        assert target.workloads("engine", "fast")[0].wanted == 2


def test_a_scale_to_nothing_comes_back(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """A workload without pods is found again by what it would make."""
    (workload,) = target.workloads("engine", None)
    with Kubelet(admin, namespace):
        target.set_scale(workload.name, workload.uid, 0, OURS)
        wait_for(lambda: not target.replicas("engine"), "no engines")
        (empty,) = target.workloads("engine", "fast")
        target.restore_scale(empty.name, empty.uid, OURS.token, 2)
        wait_for(lambda: sum(r.ready for r in target.replicas("engine")) == 2, "two engines")


def test_what_an_autoscaler_keeps_is_not_scaled(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """It would be undone at once, and prove nothing."""
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "engine"}
    client.AutoscalingV2Api(admin).create_namespaced_horizontal_pod_autoscaler(
        namespace,
        {
            "metadata": {"name": "engine"},
            "spec": {"minReplicas": 2, "maxReplicas": 2, "scaleTargetRef": reference},
        },
    )
    (workload,) = target.workloads("engine", None)
    assert workload.scaled_by == "engine"
    with pytest.raises(FaultError, match="scaled by HorizontalPodAutoscaler engine"):
        target.set_scale(workload.name, workload.uid, 3, OURS)
    assert target.workloads("engine", None)[0].wanted == 2


def test_a_number_that_somebody_else_set_is_left_alone(
    target: KubernetesTarget,
    admin: client.ApiClient,
    namespace: str,
    engines: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only the mark goes, and that is said."""
    (workload,) = target.workloads("engine", None)
    target.set_scale(workload.name, workload.uid, 3, OURS)
    apps = client.AppsV1Api(admin)
    apps.patch_namespaced_deployment("engine", namespace, {"spec": {"replicas": 5}})

    with caplog.at_level(logging.WARNING):
        target.restore_scale(workload.name, workload.uid, OURS.token, 2)

    found = apps.read_namespaced_deployment("engine", namespace)
    assert found.spec.replicas == 5
    assert UNDO not in found.metadata.annotations
    assert "spec.replicas is 5 and no longer 3" in caplog.text


def test_another_injections_change_is_not_built_upon(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> None:
    """A valid mark of others refuses us; an expired one hands us its undo."""
    (workload,) = target.workloads("engine", None)
    target.set_scale(workload.name, workload.uid, 3, THEIRS)
    with pytest.raises(RefusedError, match=f"{THEIRS.token} of faultload@"):
        target.set_scale(workload.name, workload.uid, 4, OURS)
    target.restore_scale(workload.name, workload.uid, THEIRS.token, 2)

    target.set_scale(workload.name, workload.uid, 3, STALE)
    target.set_scale(workload.name, workload.uid, 4, OURS)
    found = client.AppsV1Api(admin).read_namespaced_deployment("engine", namespace)
    assert json.loads(found.metadata.annotations[UNDO])["was"] == 2
