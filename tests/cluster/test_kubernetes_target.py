"""What the target says of a real cluster: replicas, nodes, occupants, workloads, evidence."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane
from kube_objects import list_pods, make_deployment, make_node, make_ready, wait_for
from kube_targets import cluster_uid, signed_in_target, target_spec
from kubernetes import client

from faultload.errors import MissingError
from faultload.spec import labels as selectors
from faultload.targets.kubernetes import KubernetesTarget
from faultload.targets.kubernetes.resources import PODS

LABELS = {"app": "engine", "tier": "fast"}

pytestmark = pytest.mark.usefixtures("controllers")


def test_replicas_are_the_pods_that_have_not_finished(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """Name, uid, tier, node and zone are the cluster's; ready is ready and not ending."""
    make_node(admin, "node-a", zone="zone-a")
    make_deployment(admin, namespace, "engine", LABELS, 3)
    core = client.CoreV1Api(admin)
    first, second, third = sorted(
        list_pods(admin, namespace, LABELS), key=lambda pod: str(pod.metadata.name)
    )
    make_ready(admin, first, restarts=2)
    core.delete_namespaced_pod(second.metadata.name, namespace)
    done = {"metadata": {"name": "done", "labels": LABELS}, "spec": _spec()}
    core.create_namespaced_pod(namespace, done)
    core.patch_namespaced_pod_status("done", namespace, {"status": {"phase": "Succeeded"}})

    seen = {replica.name: replica for replica in target.replicas("engine")}

    assert "done" not in seen
    replica = seen[first.metadata.name]
    assert (replica.component, replica.uid, replica.tier) == (
        "engine",
        first.metadata.uid,
        "fast",
    )
    assert (replica.node, replica.zone, replica.restarts) == ("node-a", "zone-a", 2)
    assert (replica.ready, replica.inflight) == (True, None)
    assert not seen[second.metadata.name].ready
    assert seen[third.metadata.name].ready
    assert list(seen) == sorted(seen)
    assert target.replicas("router") == []


def test_replicas_without_a_node_are_not_ready_and_nowhere(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """A pod that is not scheduled yet, in a cluster without nodes, is a replica all the same."""
    pod = {"metadata": {"name": "engine", "labels": {"app": "engine"}}, "spec": _spec()}
    client.CoreV1Api(admin).create_namespaced_pod(namespace, pod)

    (replica,) = target.replicas("engine")

    assert (replica.node, replica.zone, replica.tier, replica.ready) == ("", "", "", False)


def test_nodes_say_whether_pods_may_come(target: KubernetesTarget, admin: client.ApiClient) -> None:
    """Ready is the node's condition, schedulable what a cordon takes away."""
    good = make_node(admin, "good", zone="zone-b")
    make_node(admin, "bad", ready=False)
    client.CoreV1Api(admin).patch_node("bad", {"spec": {"unschedulable": True}})

    nodes = {node.name: node for node in target.nodes()}

    assert (nodes["good"].uid, nodes["good"].zone) == (good.metadata.uid, "zone-b")
    assert (nodes["good"].ready, nodes["good"].schedulable) == (True, True)
    assert (nodes["bad"].ready, nodes["bad"].schedulable) == (False, False)


def test_occupants_stay_go_or_forbid(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """A drain takes pods that are replaced elsewhere, and nobody's data, orphan or neighbour."""
    make_node(admin, "node")
    volumes = {
        "shm": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
        "disk": [{"name": "cache", "emptyDir": {}}],
    }
    for name, given in volumes.items():
        labels = {"app": "engine" if name == "shm" else name}
        make_deployment(admin, namespace, name, labels, 1, pod_spec={"volumes": given})
    core, apps = client.CoreV1Api(admin), client.AppsV1Api(admin)
    agent = {"matchLabels": {"app": "agent"}}
    template = {"metadata": {"labels": {"app": "agent"}}, "spec": _spec()}
    apps.create_namespaced_daemon_set(
        namespace,
        {"metadata": {"name": "agent"}, "spec": {"selector": agent, "template": template}},
    )
    bare = {"metadata": {"name": "bare"}, "spec": _spec() | {"nodeName": "node"}}
    core.create_namespaced_pod(namespace, bare)
    core.create_namespaced_pod("default", bare)
    finished = bare | {"metadata": {"name": "finished"}}
    core.create_namespaced_pod(namespace, finished)
    core.patch_namespaced_pod_status("finished", namespace, {"status": {"phase": "Failed"}})
    try:
        wait_for(lambda: list_pods(admin, namespace, {"app": "agent"}), "the daemon's pod")
        occupants = target.occupants("node")
    finally:
        core.delete_namespaced_pod("bare", "default", grace_period_seconds=0)

    said = {_stem(o.name): (o.component, o.stays, o.forbids) for o in occupants if o.name != "bare"}
    assert said["shm"] == ("engine", "", "")
    assert said["disk"] == ("", "", "keeps data on the node (emptyDir cache)")
    assert said["agent"] == ("", "belongs to every node (daemonset agent)", "")
    assert said["finished"] == ("", "has finished", "")
    forbidden = sorted(o.forbids for o in occupants if o.name == "bare")
    assert forbidden == [
        "has no controller that would replace it",
        "is in namespace default, which is not the target's",
    ]


def test_workloads_are_found_by_their_pods_and_by_their_template(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """A deployment of no pods is found; so is its autoscaler; a stranger is not."""
    make_node(admin, "node")
    fast = make_deployment(admin, namespace, "fast", LABELS, 1)
    make_deployment(admin, namespace, "slow", {"app": "engine", "tier": "slow"}, 0)
    make_deployment(admin, namespace, "other", {"app": "other"}, 0)
    # Its template lacks the label that the selector wants: only its pod has it.
    make_deployment(admin, namespace, "late", {"app": "late"}, 1)
    (pod,) = list_pods(admin, namespace, {"app": "late"})
    labels = {"metadata": {"labels": {"app": "engine", "tier": "late"}}}
    core = client.CoreV1Api(admin)
    scaler = {
        "metadata": {"name": "keda-hpa-fast"},
        "spec": {
            "minReplicas": 1,
            "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "fast"},
        },
    }
    client.AutoscalingV2Api(admin).create_namespaced_horizontal_pod_autoscaler(namespace, scaler)

    found = target.workloads("engine", None)
    assert [(w.name, w.tier, w.wanted, w.scaled_by) for w in found] == [
        ("deployment/fast", "fast", 1, "keda-hpa-fast"),
        ("deployment/slow", "slow", 0, ""),
    ]
    assert found[0].uid == fast.metadata.uid
    assert [w.name for w in target.workloads("engine", "slow")] == ["deployment/slow"]
    assert target.workloads("router", None) == []

    core.patch_namespaced_pod(pod.metadata.name, namespace, labels)
    # The controller lets go of a pod that no longer matches, so it has no owner any more.
    wait_for(
        lambda: "deployment/late" not in {w.name for w in target.workloads("engine", None)},
        "the pod to be nobody's",
    )


def test_stateful_sets_are_workloads(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """Engines with a disk of their own are kept by a stateful set."""
    body = {
        "metadata": {"name": "engine"},
        "spec": {
            "serviceName": "engine",
            "replicas": 2,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": _spec()},
        },
    }
    client.AppsV1Api(admin).create_namespaced_stateful_set(namespace, body)

    (found,) = target.workloads("engine", "fast")

    assert (found.name, found.wanted) == ("statefulset/engine", 2)


def test_many_pods_come_in_pages(
    target: KubernetesTarget,
    admin: client.ApiClient,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No list ends with its first page."""
    monkeypatch.setattr("faultload.targets.kubernetes.api._PAGE_SIZES", (2,))
    core = client.CoreV1Api(admin)
    for number in range(7):
        metadata = {"name": f"engine-{number}", "labels": {"app": "engine"}}
        core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": _spec()})

    assert [r.name for r in target.replicas("engine")] == [f"engine-{n}" for n in range(7)]


def test_selectors_mean_what_the_api_takes_them_for(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """Ours are used on templates, the API's on pods: they choose the same."""
    core = client.CoreV1Api(admin)
    labels: list[dict[str, str]] = [
        {},
        {"app": "engine"},
        {"app": "engine", "tier": "fast"},
        {"app": "api", "tier": ""},
        {"example.com/app": "engine", "tier": "slow"},
    ]
    for number, given in enumerate(labels):
        metadata = {"name": f"pod-{number}", "labels": given}
        core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": _spec()})
    chosen = [
        *("app=engine", "app==engine", "app!=engine", "app", "!app", "! tier", "tier="),
        *(
            "app in (engine,api)",
            "app in ( engine , api ),tier",
            "tier notin (fast)",
            "tier in (,)",
        ),
        *("example.com/app=engine", "app=engine,tier=fast", " app = engine , tier != fast "),
    ]
    for selector in chosen:
        found = {pod["metadata"]["name"] for pod in _list(target, namespace, selector)}
        wanted = selectors.parse(selector)
        ours = {f"pod-{n}" for n, given in enumerate(labels) if selectors.matches(wanted, given)}
        assert ours == found, selector
    for selector in ("app in engine", "=engine", "app=a b", "app in (a", "!app=b", "a=b;c"):
        with pytest.raises(ValueError, match="expected a label selector"):
            selectors.parse(selector)
        with pytest.raises(MissingError, match="400"):
            _list(target, namespace, selector)


def _list(target: KubernetesTarget, namespace: str, selector: str) -> list[dict[str, Any]]:
    return target._cluster.api.list_all(PODS, namespace, labels=selector)


def test_the_record_describes_the_cluster(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, control_plane: ControlPlane
) -> None:
    """Which cluster, what hardware, what images; no credentials."""
    labels = {
        "node.kubernetes.io/instance-type": "g6.xlarge",
        "karpenter.sh/capacity-type": "spot",
    }
    make_node(admin, "node", labels)
    make_deployment(admin, namespace, "engine", LABELS, 2, image="example.com/vllm:0.33")

    about = target.describe()

    assert about["cluster_uid"] == cluster_uid(admin)
    assert about["version"] == control_plane.version
    assert about["components"]["engine"] == {
        "replicas": 2,
        "images": ["example.com/vllm:0.33"],
        "flags": [],
    }
    (node,) = [node for node in about["nodes"] if node["name"] == "node"]
    assert (node["instance_type"], node["zone"], node["capacity_type"]) == (
        "g6.xlarge",
        "zone-a",
        "spot",
    )


def test_events_are_the_namespaces_own(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """What the controllers report is there, oldest first, with the API's own times."""
    make_node(admin, "node")
    make_deployment(admin, namespace, "engine", LABELS, 1)

    def reasons() -> set[str]:
        return {event.reason for event in target.events()}

    wait_for(
        lambda: {"ScalingReplicaSet", "SuccessfulCreate", "Scheduled"} <= reasons(), "its events"
    )
    events = target.events()
    assert [e.time_unix_s for e in events] == sorted(e.time_unix_s for e in events)
    assert all(abs(e.time_unix_s - time.time()) < 300 for e in events)
    assert "deployment/engine" in {e.subject for e in events}


def test_logs_that_cannot_be_read_are_named(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, tmp_path: Path
) -> None:
    """No kubelet answers here: that is written down, and is no error."""
    node = make_node(admin, "node")
    address = {"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}}
    client.CoreV1Api(admin).patch_node_status(node.metadata.name, address)
    make_deployment(admin, namespace, "engine", LABELS, 2)

    target.save_logs(tmp_path / "logs")

    lines = (tmp_path / "logs" / "unavailable.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("node node gave no other log")


def test_another_process_attaches_without_credentials_in_hand(
    admin: client.ApiClient, namespace: str, control_plane: ControlPlane
) -> None:
    """What is handed over names files, and leads to the same target."""
    spec = target_spec(admin, control_plane.admin_kubeconfig, namespace)
    with signed_in_target(spec) as target:
        attachment = target.attachment()
        assert set(attachment) == {"kubeconfig", "target_file"}
        assert all(Path(path).is_absolute() for path in attachment.values())
        again = KubernetesTarget.attach(spec, attachment)
        try:
            assert again.identity == target.identity
        finally:
            again.close()
    assert target.endpoints.inference_url == "http://127.0.0.1:9"


def _spec() -> dict[str, Any]:
    return {"containers": [{"name": "engine", "image": "example.com/engine:1"}]}


def _stem(name: str) -> str:
    return name.partition("-")[0]
