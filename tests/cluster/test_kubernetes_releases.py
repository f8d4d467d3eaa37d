"""Rolling updates and bad releases on a real cluster: seen, taken back, nothing else touched."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kube_objects import make_deployment, make_node, wait_for
from kube_targets import before_restarts, nothing_else_changes
from kubelet import Kubelet
from kubernetes import client

from faultload.errors import FaultError, RefusedError
from faultload.faults.release_bad import BadRelease, FlawedRelease
from faultload.targets import Flaw, Mark, Rollout, Workload
from faultload.targets.kubernetes import KubernetesTarget
from faultload.targets.kubernetes.marks import UNDO
from faultload.targets.kubernetes.releases import RELEASED_BY, RESTARTED_AT

OURS = Mark("bad_release-1a2b3c4d", time.time() + 3600)
THEIRS = Mark("bad_release-99999999", time.time() + 3600)
STALE = Mark("scale-00000000", time.time() - 3600)
WAITS: dict[Flaw, str] = {"unpullable": "ImagePullBackOff", "crashing": "CrashLoopBackOff"}

pytestmark = pytest.mark.usefixtures("controllers")


@pytest.fixture
def engine(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engines: None
) -> Iterator[Workload]:
    """The deployment of two engines, under a kubelet."""
    with Kubelet(admin, namespace):
        yield target.workloads("engine", "fast")[0]


def look(target: KubernetesTarget, workload: Workload) -> Rollout:
    """Return how far a workload is that is there."""
    seen = target.rollout(workload.name, workload.uid)
    assert seen is not None
    return seen


def wait_until(
    target: KubernetesTarget, workload: Workload, holds: Callable[[Rollout], Any]
) -> Rollout:
    """Return its rollout once that is so."""

    def seen() -> Rollout | None:
        found = look(target, workload)
        return found if holds(found) else None

    return wait_for(seen, f"{workload.name} as expected")


def stuck(target: KubernetesTarget, engine: Workload, flaw: Flaw = "unpullable") -> Rollout:
    """Make a bad release and return its rollout once a pod waits."""
    target.release(engine.name, engine.uid, flaw, OURS)
    return wait_until(target, engine, lambda seen: WAITS[flaw] in seen.waits_for)


def uids_of(target: KubernetesTarget) -> set[str]:
    """Return the uids of the engines, also of those that are ending."""
    return {replica.uid for replica in target.replicas("engine")}


def test_a_rollout_replaces_every_pod_and_leaves_what_kubectl_leaves(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engine: Workload
) -> None:
    """New pods, told twice replaced once; two annotations of the template, no mark, no more."""
    old = look(target, engine)
    uids = uids_of(target)
    with nothing_else_changes(admin, namespace, "pods", before_restarts):
        for _ in range(2):
            target.roll_out(engine.name, engine.uid, OURS)
        new = wait_until(target, engine, lambda seen: seen.token == OURS.token and seen.complete)
        wait_for(lambda: uids.isdisjoint(uids_of(target)), "the old pods to be gone")
        target.roll_back(engine.name, engine.uid, OURS.token, old.revision)
        assert target.left_behind() == []
    assert look(target, engine) == new
    assert (old.token, old.waits_for, new.waits_for) == ("", "", "")
    assert old.complete
    assert new.revision != old.revision
    found = client.AppsV1Api(admin).read_namespaced_deployment("engine", namespace)
    assert set(found.spec.template.metadata.annotations) == {RESTARTED_AT, RELEASED_BY}
    assert found.metadata.annotations["deployment.kubernetes.io/revision"] == "2"


@pytest.mark.parametrize("flaw", list(WAITS))
def test_a_bad_release_is_seen_and_rolled_back(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engine: Workload, flaw: Flaw
) -> None:
    """Its pod waits, the old ones serve; after it pods, revision and template are what they were.

    Its replica set is gone as well: `kubectl rollout undo` would bring it back.
    """
    old = look(target, engine)
    with nothing_else_changes(admin, namespace):
        bad = stuck(target, engine, flaw)
        target.release(engine.name, engine.uid, flaw, OURS)
        assert (bad.wanted, bad.ready, bad.updated, bad.updated_ready) == (2, 2, 1, 0)
        assert bad.token == OURS.token
        assert bad.revision not in ("", old.revision)
        assert target.left_behind() == [
            f"deployments engine in namespace {namespace}: {OURS.token} of {_by(admin, namespace)}"
        ]
        target.roll_back(engine.name, engine.uid, THEIRS.token, old.revision)
        assert look(target, engine).token == OURS.token
        for _ in range(2):
            target.roll_back(engine.name, engine.uid, OURS.token, old.revision)
        wait_until(target, engine, lambda seen: seen == old)


def _by(admin: client.ApiClient, namespace: str) -> str:
    found = client.AppsV1Api(admin).read_namespaced_deployment("engine", namespace)
    return str(json.loads(found.metadata.annotations[UNDO])["by"])


def test_a_rollout_that_the_controller_gave_up_is_stalled(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """By its progress deadline; and no more once it was rolled back."""
    make_node(admin, "node")
    spec = {"progressDeadlineSeconds": 1}
    make_deployment(admin, namespace, "engine", {"app": "engine"}, 1, spec=spec)
    (engine,) = target.workloads("engine", None)
    with Kubelet(admin, namespace):
        stuck(target, engine)
        wait_until(target, engine, lambda seen: seen.stalled)
        target.roll_back(engine.name, engine.uid, OURS.token, "")
        wait_until(target, engine, lambda seen: seen.complete and not seen.stalled)


def test_somebody_elses_release_is_left_alone(
    target: KubernetesTarget,
    admin: client.ApiClient,
    namespace: str,
    engine: Workload,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another image meanwhile: it stays, our marks go, our replica set too, and that is said."""
    stuck(target, engine)
    _set(admin, namespace, {"image": "example.com/engine:2"})
    theirs = wait_until(target, engine, lambda seen: seen.complete)
    assert theirs.token == ""

    with caplog.at_level(logging.WARNING):
        target.roll_back(engine.name, engine.uid, OURS.token, "")

    apps = client.AppsV1Api(admin)
    found = apps.read_namespaced_deployment("engine", namespace)
    assert found.spec.template.spec.containers[0].image == "example.com/engine:2"
    assert "image is 'example.com/engine:2' and no longer 'faultload.invalid/" in caplog.text
    sets = apps.list_namespaced_replica_set(namespace).items
    assert len(sets) == 2
    assert not any(UNDO in one.metadata.annotations for one in (found, *sets))
    assert look(target, engine) == theirs


def test_what_others_changed_beside_the_flaw_is_kept(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engine: Workload
) -> None:
    """Somebody adds a variable to the broken release: only what we broke is mended."""
    stuck(target, engine)
    _set(admin, namespace, {"env": [{"name": "ADDED", "value": "1"}]})
    target.roll_back(engine.name, engine.uid, OURS.token, "")
    wait_until(target, engine, lambda seen: seen.complete)
    (container,) = (
        client.AppsV1Api(admin)
        .read_namespaced_deployment("engine", namespace)
        .spec.template.spec.containers
    )
    assert (container.image, container.env[0].name) == ("example.com/engine:1", "ADDED")


def _set(admin: client.ApiClient, namespace: str, change: dict[str, Any]) -> None:
    containers = [{"name": "engine"} | change]
    body = {"spec": {"template": {"spec": {"containers": containers}}}}
    client.AppsV1Api(admin).patch_namespaced_deployment("engine", namespace, body)


def test_a_workload_made_anew_is_another(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engine: Workload
) -> None:
    """Deleted and made again meanwhile: not rolled back, not released on, no rollout of it."""
    stuck(target, engine)
    apps = client.AppsV1Api(admin)
    apps.delete_namespaced_deployment("engine", namespace, propagation_policy="Foreground")
    wait_for(lambda: not target.workloads("engine", None), "no deployment")
    make_deployment(admin, namespace, "engine", {"app": "engine"}, 1)
    with nothing_else_changes(admin, namespace):
        target.roll_back(engine.name, engine.uid, OURS.token, "")
        assert target.rollout(engine.name, engine.uid) is None
        with pytest.raises(FaultError, match="is gone, or is another by now"):
            target.roll_out(engine.name, engine.uid, OURS)
        with pytest.raises(FaultError, match="is gone, or is another by now"):
            target.release(engine.name, engine.uid, "crashing", OURS)


def test_an_expired_release_is_undone_from_its_mark_alone(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engine: Workload
) -> None:
    """Also what is left where a harness ended between the template and the replica set."""
    old = look(target, engine)
    with nothing_else_changes(admin, namespace):
        stuck(target, engine)
        assert target.revert_expired(OURS.expires_unix_s - 1) == []
        (line,) = target.revert_expired(OURS.expires_unix_s)
        assert f"deployments engine in namespace {namespace}: undid {OURS.token}" in line
        wait_until(target, engine, lambda seen: seen == old)
        stuck(target, engine)
        client.AppsV1Api(admin).patch_namespaced_deployment(
            "engine", namespace, {"metadata": {"annotations": {UNDO: None}}}
        )
        _set(admin, namespace, {"image": "example.com/engine:1"})
        (line,) = target.revert_expired(OURS.expires_unix_s)
        assert line.startswith("replicasets engine-")
        assert target.revert_expired(OURS.expires_unix_s) == []


def test_a_release_is_refused_where_it_could_not_be_taken_back(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str, engine: Workload
) -> None:
    """Slow ones, a paused deployment, and one that another mark is on: nothing is touched."""
    apps = client.AppsV1Api(admin)

    def release(flaw: Flaw = "unpullable") -> None:
        target.release(engine.name, engine.uid, flaw, OURS)

    def roll_out() -> None:
        target.roll_out(engine.name, engine.uid, OURS)

    with nothing_else_changes(admin, namespace):
        with pytest.raises(FaultError, match="makes no slow release.*unpullable and crashing"):
            release("slow")
        with pytest.raises(FaultError, match="nobody could tell a slow release from another"):
            BadRelease(target, FlawedRelease("slow")).plan()
        apps.patch_namespaced_deployment("engine", namespace, {"spec": {"paused": True}})
        for act in (release, roll_out):
            with pytest.raises(FaultError, match="deployment/engine is paused"):
                act()
        apps.patch_namespaced_deployment("engine", namespace, {"spec": {"paused": None}})
        target.set_scale(engine.name, engine.uid, 2, THEIRS)
        for act in (release, roll_out):
            with pytest.raises(RefusedError, match=f"{THEIRS.token} of faultload@"):
                act()
        target.restore_scale(engine.name, engine.uid, THEIRS.token, 2)
        target.set_scale(engine.name, engine.uid, 2, STALE)
        with pytest.raises(RefusedError, match="has expired and was never undone"):
            release()
        assert target.revert_expired(STALE.expires_unix_s)


def test_a_stateful_set_is_rolled_out_but_given_no_bad_release(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """Its controller says which revision is meant, and cannot be rolled back by its template."""
    make_node(admin, "node")
    labels = {"app": "engine"}
    pod = {"containers": [{"name": "engine", "image": "example.com/engine:1"}]}
    spec = {
        "serviceName": "engine",
        "replicas": 2,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    apps = client.AppsV1Api(admin)
    apps.create_namespaced_stateful_set(namespace, {"metadata": {"name": "engine"}, "spec": spec})
    (engine,) = target.workloads("engine", None)
    with Kubelet(admin, namespace):
        old = wait_until(target, engine, lambda seen: seen.complete and seen.revision)
        assert old.max_unavailable == 1
        uids = uids_of(target)
        target.roll_out(engine.name, engine.uid, OURS)
        wait_until(target, engine, lambda seen: seen.revision != old.revision and seen.complete)
        assert uids.isdisjoint(uids_of(target))
    with pytest.raises(FaultError, match="no bad release: the controller of a StatefulSet may"):
        target.release(engine.name, engine.uid, "crashing", OURS)
    by_hand = {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}
    apps.patch_namespaced_stateful_set("engine", namespace, {"spec": by_hand})
    with pytest.raises(FaultError, match=r"replaces no pod .*OnDelete"):
        target.roll_out(engine.name, engine.uid, THEIRS)
