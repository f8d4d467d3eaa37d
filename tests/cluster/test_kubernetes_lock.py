"""The lease: one harness at a time, over machines, crashes and clocks that are wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest
from api_proxy import Failure, proxied
from control_plane import ControlPlane
from kube_objects import kubeconfig_for, wait_for
from kube_targets import signed_in_target, target_spec
from kubernetes import client

from faultload.errors import RefusedError
from faultload.targets.kubernetes import KubernetesTarget, rules_for
from faultload.targets.kubernetes.cluster import OPT_IN
from faultload.targets.kubernetes.lease import Lease

SHORT_S = 2.0


@pytest.fixture
def other(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> Iterator[KubernetesTarget]:
    """Another harness on the same target."""
    spec = target_spec(admin, control_plane.admin_kubeconfig, namespace)
    with signed_in_target(spec) as signed:
        yield signed


def spec_of(admin: client.ApiClient, namespace: str) -> Any:
    """Return the lease's spec as it is now."""
    return client.CoordinationV1Api(admin).read_namespaced_lease("faultload", namespace).spec


def test_one_harness_at_a_time(
    target: KubernetesTarget, other: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """The second is refused at once, with holder and end; the release lets it in at once."""
    for holder in ("run-1", "run-3"):
        with target.lock(holder) as lock:
            assert lock.problem == ""
            match = rf"locked by {holder}@.*, until \d\d:\d\d:\d\d UTC if it does not renew"
            with pytest.raises(RefusedError, match=match), other.lock("run-2"):
                pass
            assert spec_of(admin, namespace).lease_duration_seconds == 60
        assert spec_of(admin, namespace).holder_identity is None
        with other.lock("run-2"):
            assert spec_of(admin, namespace).holder_identity.startswith("run-2@")


def test_targets_that_share_a_namespace_meet(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """Whatever their order; who is refused one namespace keeps no other."""
    core, shared = client.CoreV1Api(admin), f"{namespace}-b"
    core.create_namespace({"metadata": {"name": shared, "labels": {OPT_IN: "true"}}})

    def signed_in(*namespaces: str) -> AbstractContextManager[KubernetesTarget]:
        path = control_plane.admin_kubeconfig
        return signed_in_target(target_spec(admin, path, namespace, namespaces=[*namespaces]))

    try:
        with signed_in(namespace, shared) as both, signed_in(shared) as one:
            with one.lock("run-1"), pytest.raises(RefusedError, match="locked by run-1@"):
                both.lock("run-2").__enter__()
            assert spec_of(admin, namespace).holder_identity is None
            with both.lock("run-2") as lock, signed_in(shared, namespace) as turned:
                assert lock.problem == ""
                for another in (one, turned):
                    with pytest.raises(RefusedError, match="locked by run-2@"):
                        another.lock("run-3").__enter__()
    finally:
        core.delete_namespace(shared)


def test_a_hold_is_renewed(
    target: KubernetesTarget, other: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """Before its time is over, again and again."""
    with target.lock("run-1", 6.0) as lock:
        seen = [spec_of(admin, namespace).renew_time]

        def renewed() -> bool:
            now = spec_of(admin, namespace).renew_time
            if now != seen[-1]:
                seen.append(now)
            return len(seen) == 3

        wait_for(renewed, "two renewals")
        assert seen == sorted(seen)
        assert lock.problem == ""
        with pytest.raises(RefusedError, match="locked by run-1@"), other.lock("run-2"):
            pass


def test_a_dead_holder_is_taken_over_from(
    target: KubernetesTarget, other: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """Once its time is over; and it would know, if it were not dead after all."""
    dead = Lease(target._cluster, namespace, "run-1@elsewhere", SHORT_S)
    dead.take()

    def taken() -> bool:
        try:
            with other.lock("run-2"):
                return str(spec_of(admin, namespace).holder_identity).startswith("run-2@")
        except RefusedError:
            return False

    wait_for(taken, "the second harness's hold")
    assert "could not be renewed" in dead.problem
    with other.lock("run-2"):
        dead._duration_s = 0.3
        dead.keep()  # ends by itself
        assert "taken by run-2@" in dead.problem
        dead.release()
        assert spec_of(admin, namespace).holder_identity.startswith("run-2@")


@pytest.mark.parametrize("wrong_s", [3600.0, -3600.0], ids=["ahead", "behind"])
def test_a_wrong_clock_takes_nothing_over(
    target: KubernetesTarget,
    other: KubernetesTarget,
    monkeypatch: pytest.MonkeyPatch,
    wrong_s: float,
) -> None:
    """Times are the API server's, whatever ours says."""
    wrong = SimpleNamespace(
        time=lambda: time.time() + wrong_s, monotonic=time.monotonic, sleep=time.sleep
    )
    with target.lock("run-1"):
        monkeypatch.setattr("faultload.targets.kubernetes.api.time", wrong)
        with pytest.raises(RefusedError, match="locked by run-1@"), other.lock("run-2"):
            pass


def test_a_hold_that_was_taken_or_removed_is_a_problem(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """A run that may not be alone any more says so, and does not take its lock back."""
    leases = client.CoordinationV1Api(admin)
    with target.lock("run-1", SHORT_S) as lock:
        body = {"spec": {"holderIdentity": "somebody@else"}}
        leases.patch_namespaced_lease("faultload", namespace, body)
        wait_for(lambda: lock.problem, "a problem", timeout_s=20)
        assert "taken by somebody@else" in lock.problem
    assert spec_of(admin, namespace).holder_identity == "somebody@else"
    leases.delete_namespaced_lease("faultload", namespace)
    with target.lock("run-1", SHORT_S) as lock:
        leases.delete_namespaced_lease("faultload", namespace)
        wait_for(lambda: lock.problem, "a problem", timeout_s=20)
        assert "lease faultload was removed" in lock.problem


def test_a_hold_that_cannot_be_renewed_is_a_problem(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """Not at the first failure, but once others may take it; it is none when they did not."""
    rules = rules_for([], [namespace])
    with proxied(control_plane) as proxy:
        path = proxy.kubeconfig(kubeconfig_for(control_plane, namespace, *rules))
        with (
            signed_in_target(target_spec(admin, path, namespace)) as target,
            target.lock("run-1", SHORT_S) as lock,
        ):
            proxy.failures = [Failure("PATCH", "/leases", 503, body="busy")]
            calls = len(proxy.calls)
            wait_for(lambda: len(proxy.calls) > calls, "a renewal that fails")
            wait_for(lambda: lock.problem, "a problem", timeout_s=20)
            assert "could not be renewed for" in lock.problem
            assert "busy" in lock.problem
            proxy.failures = []
            wait_for(lambda: not lock.problem, "a renewal", timeout_s=20)


def test_who_is_killed_while_taking_leaves_a_lease_that_anybody_may_take(
    target: KubernetesTarget, admin: client.ApiClient, namespace: str
) -> None:
    """An empty lease is nobody's; so is the answer to a creation that was lost."""
    client.CoordinationV1Api(admin).create_namespaced_lease(
        namespace, {"metadata": {"name": "faultload"}, "spec": {}}
    )
    with target.lock("run-1") as lock:
        assert lock.problem == ""


def test_a_creation_whose_answer_was_lost_is_found(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """The repeated call meets its own lease."""
    rules = rules_for([], [namespace])
    with proxied(control_plane) as proxy:
        path = proxy.kubeconfig(kubeconfig_for(control_plane, namespace, *rules))
        spec = target_spec(admin, path, namespace)
        with signed_in_target(spec) as target:
            proxy.failures = [Failure("POST", "/leases", forwards=True, times=1)]
            with target.lock("run-1"):
                assert spec_of(admin, namespace).holder_identity.startswith("run-1@")
            assert [call for call in proxy.calls if call[0] == "POST"] == [
                ("POST", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
            ] * 2
