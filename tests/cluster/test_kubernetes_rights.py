"""What the table of rights says is what we need: no less, no more, and what lacks is named."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from api_proxy import proxied
from control_plane import ControlPlane
from kube_objects import kubeconfig_for, make_deployment, make_node, wait_for
from kube_targets import signed_in_target, target_spec
from kubelet import Kubelet
from kubernetes import client

from faultload.errors import MissingError
from faultload.targets import (
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
    Mark,
    Workload,
)
from faultload.targets.calls import EVERY_RUN
from faultload.targets.kubernetes import RIGHTS, KubernetesTarget, rules_for
from faultload.targets.kubernetes.marks import UNDO, Undo
from faultload.targets.kubernetes.rights import Right
from faultload.targets.kubernetes.workloads import REPLICAS

LABELS = {"app": "engine"}
MARK = Mark("test-1a2b3c4d", time.time() + 3600)

Rules = list[dict[str, list[str]]]


def _kill(target: KubernetesTarget) -> None:
    replica = target.replicas("engine")[0]
    target.kill_replica(replica.name, replica.uid)


def _delete(target: KubernetesTarget) -> None:
    replica = target.replicas("engine")[0]
    target.delete_replica(replica.name, replica.uid, None)


def _evict(target: KubernetesTarget) -> None:
    replica = target.replicas("engine")[0]
    assert target.evict_replica(replica.name, replica.uid) is None


def _cordon(target: KubernetesTarget) -> None:
    (node,) = [node for node in target.nodes() if node.name == "node"]
    target.cordon_node(node.name, node.uid, MARK)
    target.uncordon_node(node.name, node.uid, MARK.token)


def _drain(target: KubernetesTarget) -> None:
    _cordon(target)
    for occupant in target.occupants("node"):
        assert target.evict_replica(occupant.name, occupant.uid) is None


def _scale(target: KubernetesTarget) -> None:
    (workload,) = target.workloads("engine", None)
    target.set_scale(workload.name, workload.uid, 3, MARK)
    target.restore_scale(workload.name, workload.uid, MARK.token, 2)


def _partition(target: KubernetesTarget) -> None:
    victims = [(replica.name, replica.uid) for replica in target.replicas("engine")]
    target.partition(victims, MARK)
    assert len(target.partitioned(MARK.token)) == 2
    target.join(victims, MARK.token)


def _roll_out(target: KubernetesTarget) -> None:
    (workload,) = _deployments(target)
    target.roll_out(workload.name, workload.uid, MARK)
    _is_complete(target, workload)


def _release(target: KubernetesTarget) -> None:
    (workload,) = _deployments(target)
    target.release(workload.name, workload.uid, "unpullable", MARK)

    def waits() -> bool:
        seen = target.rollout(workload.name, workload.uid)
        return seen is not None and "ImagePullBackOff" in seen.waits_for

    wait_for(waits, "a replica that cannot be pulled")
    target.roll_back(workload.name, workload.uid, MARK.token, "")
    _is_complete(target, workload)


def _deployments(target: KubernetesTarget) -> list[Workload]:
    found = target.workloads("engine", None)
    return [workload for workload in found if workload.name.startswith("deployment/")]


def _is_complete(target: KubernetesTarget, workload: Workload) -> None:
    def is_complete() -> bool:
        seen = target.rollout(workload.name, workload.uid)
        return seen is not None and seen.complete

    wait_for(is_complete, f"the rollout of {workload.name} to be complete")


USES: Mapping[str, Callable[[KubernetesTarget], None]] = {
    KILL_REPLICA: _kill,
    DELETE_REPLICA: _delete,
    EVICT_REPLICA: _evict,
    CORDON_NODE: _cordon,
    DRAIN_NODE: _drain,
    SCALE: _scale,
    PARTITION: _partition,
    ROLL_OUT: _roll_out,
    BAD_RELEASE: _release,
    TERMINATE_PODS: _delete,
    SCALE_WORKLOAD: _scale,
}


@contextmanager
def allowed(
    plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    rules: tuple[Rules, Rules],
) -> Iterator[KubernetesTarget]:
    """Yield a target signed in as a service account that may do exactly this."""
    path = kubeconfig_for(plane, namespace, *rules)
    with signed_in_target(target_spec(admin, path, namespace)) as target:
        yield target


def test_every_capability_has_its_rights_and_its_use() -> None:
    """A capability that needs any is used below; traffic needs none of the cluster's."""
    assert set(USES) | {EVERY_RUN} == {name for name, rights in RIGHTS.items() if rights}


@pytest.mark.usefixtures("controllers")
@pytest.mark.parametrize("capability", sorted(USES))
def test_a_capability_needs_its_rules_alone(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capability: str,
) -> None:
    """Everything a run does with it goes through under the rules we tell people to grant."""
    make_node(admin, "node")
    make_deployment(admin, namespace, "engine", LABELS, 2)
    rules = rules_for([capability], [namespace])
    with allowed(control_plane, admin, namespace, rules) as target:
        wait_for(lambda: not target.missing_rights([capability]), "the rules in force")
        with Kubelet(admin, namespace), target.lock("test"):
            target.describe()
            target.events()
            USES[capability](target)
            target.save_logs(tmp_path / "logs")
        assert target.revert_expired(MARK.expires_unix_s + 1) == []
        unseen = f"networkpolicies in namespace {namespace}: not looked at" in caplog.text
        assert unseen is (capability != PARTITION)


@pytest.mark.usefixtures("engines")
def test_nothing_is_asked_for_that_is_not_used(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str, tmp_path: Path
) -> None:
    """Every verb of the table is one that some call of ours needs."""
    labels = LABELS | {"kept-by": "a-stateful-set"}
    stateful = {
        "serviceName": "engine",
        "replicas": 0,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "engine", "image": "example.com/engine:1"}]},
        },
    }
    client.AppsV1Api(admin).create_namespaced_stateful_set(
        namespace, {"metadata": {"name": "engine"}, "spec": stateful}
    )
    copied = {"metadata": {"annotations": {UNDO: Undo.new(MARK, 2, 3, REPLICAS.path).text()}}}
    for found in client.AppsV1Api(admin).list_namespaced_replica_set(namespace).items:
        client.AppsV1Api(admin).patch_namespaced_replica_set(found.metadata.name, namespace, copied)
    path = kubeconfig_for(control_plane, namespace, *rules_for(RIGHTS, [namespace]))
    with (
        proxied(control_plane) as proxy,
        signed_in_target(target_spec(admin, proxy.kubeconfig(path), namespace)) as target,
        Kubelet(admin, namespace),
    ):
        wait_for(lambda: not target.missing_rights(RIGHTS), "the rules in force")
        with target.lock("test"):
            target.describe()
            target.events()
            target.save_logs(tmp_path / "logs")
            for workload in target.workloads("engine", None):
                target.set_scale(workload.name, workload.uid, 3, MARK)
                target.restore_scale(workload.name, workload.uid, MARK.token, workload.wanted)
            for use in (_release, _partition, _kill, _drain):
                wait_for(lambda: _are_two_ready(target), "two engines")
                use(target)
    used = {_used(method, url) for method, url in proxy.calls}
    table = {
        (right.verb, right.kind.group, right.resource, right.scope == "cluster")
        for rights in RIGHTS.values()
        for right in rights
    }
    free = {
        ("create", "authorization.k8s.io", "selfsubjectaccessreviews", True),
        ("list", "", "version", True),
    }
    assert used - free == table


def _are_two_ready(target: KubernetesTarget) -> bool:
    return [replica.ready for replica in target.replicas("engine")] == [True, True]


def _used(method: str, url: str) -> tuple[str, str, str, bool]:
    """Return verb, group, resource and whether a call is about the whole cluster."""
    parts = url.partition("?")[0].strip("/").split("/")
    group = parts[1] if parts[0] == "apis" else ""
    rest = parts[{"apis": 3, "api": 2}.get(parts[0], 0) :]
    is_everywhere = rest[0] != "namespaces"
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    read = "get" if len(rest) > 1 else "list"
    verbs = {"GET": read, "POST": "create", "PATCH": "patch", "DELETE": "delete"}
    resource = "/".join([rest[0], *rest[2:]])
    return verbs[method], group, resource, is_everywhere


_EACH = [(capability, right) for capability, rights in RIGHTS.items() for right in rights]


def _line(right: Right, namespace: str) -> str:
    if right.scope == "names":
        return f"may not get namespace {namespace}"
    place = "in the whole cluster" if right.scope == "cluster" else f"in namespace {namespace}"
    return f"may not {right.verb} {right.resource} {place}"


def _without(right: Right, namespace: str, rules: tuple[Rules, Rules]) -> tuple[Rules, Rules]:
    role, cluster = copy.deepcopy(rules)
    chosen = role if right.scope == "namespaces" else cluster
    for rule in chosen:
        if (rule["apiGroups"], rule["resources"]) != ([right.kind.group], [right.resource]):
            continue
        if "resourceNames" in rule:
            rule["resourceNames"].remove(namespace)
        else:
            rule["verbs"].remove(right.verb)
    return [r for r in role if r["verbs"]], [r for r in cluster if r["verbs"]]


@pytest.mark.parametrize(
    ("capability", "right"),
    _EACH,
    ids=[f"{c}-{r.verb}-{r.resource}".replace(" ", "-") for c, r in _EACH],
)
def test_a_right_that_lacks_is_named(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    capability: str,
    right: Right,
) -> None:
    """With any one verb less exactly that one is missing, and what it is needed for is said."""
    capabilities = [] if capability == EVERY_RUN else [capability]
    rules = _without(right, namespace, rules_for(capabilities, [namespace]))
    path = kubeconfig_for(control_plane, namespace, *rules)
    spec = target_spec(admin, path, namespace)
    if right.scope == "names":
        with (
            pytest.raises(MissingError, match=f"may not get namespaces {namespace}: "),
            signed_in_target(spec),
        ):
            pass
        return

    expected = f"{_line(right, namespace)} (needed for {capability})"

    def seen() -> Sequence[str]:
        lines = target.missing_rights(capabilities)
        return lines if lines == [expected] else []

    with signed_in_target(spec) as target:
        wait_for(seen, f"the line {expected!r} alone")


def test_what_is_missing_is_said_in_every_namespace(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """Two namespaces, rights in the first only: a line for each right in the second."""
    core = client.CoreV1Api(admin)
    other = f"{namespace}-b"
    labels = {"faultload.dev/opt-in": "true"}
    core.create_namespace({"metadata": {"name": other, "labels": labels}})
    try:
        rules = rules_for([KILL_REPLICA], [namespace, other])
        path = kubeconfig_for(control_plane, namespace, *rules)
        spec = target_spec(admin, path, namespace, namespaces=[namespace, other])
        with signed_in_target(spec) as target:

            def lines() -> Sequence[str]:
                found = target.missing_rights([KILL_REPLICA])
                return found if all(other in line for line in found) else []

            found = wait_for(lines, "the rules of the first namespace in force")
        assert f"may not delete pods in namespace {other} (needed for kill-replica)" in found
        # Each namespace has its own lock.
        assert f"may not create leases in namespace {other} (needed for every run)" in found
    finally:
        core.delete_namespace(other)


def test_a_forbidden_act_says_what_to_grant(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """Verb, resource, namespace and context: what a person needs to mend a role."""
    pod = {
        "metadata": {"name": "engine", "labels": LABELS},
        "spec": {"containers": [{"name": "engine", "image": "example.com/engine:1"}]},
    }
    client.CoreV1Api(admin).create_namespaced_pod(namespace, pod)
    with allowed(control_plane, admin, namespace, rules_for([], [namespace])) as target:
        wait_for(lambda: not target.missing_rights([]), "the rules in force")
        match = f"context 'test' may not delete pods engine in namespace {namespace}: .*forbidden"
        with pytest.raises(MissingError, match=match):
            _kill(target)
