"""A harness that is killed at any step leaves nothing that cannot be undone without it."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from crash_cases import ON_A_CLUSTER, offered
from crashing import Play, play_and_die
from kube_objects import (
    list_pods,
    make_deployment,
    make_node,
    make_stateful_set,
    wait_for,
)
from kube_targets import (
    TIER,
    before_restarts,
    snapshot,
    target_spec,
)
from kubelet import Kubelet
from kubernetes import client
from snapshots import Snapshot, differences
from streaming_server import streaming_server

from faultload.faults import FAULTS
from faultload.record import InjectionStep
from faultload.run.recover import recover, recover_expired
from faultload.spec import Catalogue, KubernetesTargetSpec, load_target
from faultload.targets.kubernetes import KubernetesTarget
from faultload.targets.kubernetes.cluster import OPT_IN

LABELS = {"app": "engine", TIER: "fast"}
REPLICAS = 3
PASSING = {
    "add_load",
    "delete_replica",
    "evict_replica",
    "kill_replica",
    "roll_out",
    "terminate_pods",
}
"""Faults that leave nothing on the cluster that anybody could undo."""
FAULTS_THERE = sorted(offered("kubernetes"))
LASTING = [name for name in FAULTS_THERE if name not in PASSING]
IN_FORCE = (InjectionStep.INJECTED, InjectionStep.FAILED, InjectionStep.VERIFIED)
every_step = pytest.mark.parametrize("step", InjectionStep)
LONG_S, AT_ONCE_S = 3600.0, -2.0  # the API server's clock is read in whole seconds

pytestmark = pytest.mark.usefixtures("controllers")


@pytest.fixture
def project(
    admin: client.ApiClient,
    control_plane: Any,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """A project whose target is a namespace with three engines on two nodes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "targets").mkdir()
    (tmp_path / "experiments").mkdir()
    make_node(admin, "node-a")
    make_node(admin, "node-b")
    make_deployment(admin, namespace, "engine", LABELS, REPLICAS)
    make_stateful_set(admin, namespace, "spare", {"app": "spare"}, 1)
    with Kubelet(admin, namespace), streaming_server(0.0) as door:
        spec = target_spec(
            admin,
            control_plane.admin_kubeconfig,
            namespace,
            components={
                "engine": {"selector": "app=engine", "tier_label": TIER},
                "spare": {"selector": "app=spare"},
            },
            inference_url=door.url,
        )
        text = yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True))
        (tmp_path / "targets" / "test.yaml").write_text(text, encoding="utf-8")
        wait_for(lambda: _spares_are_ready(admin, namespace), "a ready spare")
        yield tmp_path


def _spares_are_ready(admin: client.ApiClient, namespace: str) -> bool:
    seen = client.AppsV1Api(admin).read_namespaced_stateful_set("spare", namespace)
    return bool(seen.status.ready_replicas == seen.spec.replicas)


def intent_of(fault: str, namespace: str) -> dict[str, Any]:
    """Return the arguments of a fault here; chaosk8s's want to know the namespace."""
    has_ns = "ns" in inspect.signature(FAULTS[fault].intent).parameters
    return {**ON_A_CLUSTER[fault], **({"ns": namespace} if has_ns else {})}


def settled(admin: client.ApiClient, namespace: str, fault: str = "") -> Snapshot:
    """Return what lies in the cluster, the pods only counted: a deployment replaces them.

    What a restart leaves, kubectl's too, is no matter where the fault is one.
    """
    whole = snapshot(admin, namespace)
    whole = before_restarts(whole) if fault == "roll_out" else whole
    pods = Counter(
        (pod.status.phase, str(sorted(pod.metadata.labels)), _annotations(pod, fault))
        for pod in list_pods(admin, namespace, {"app": "engine"})
        if pod.metadata.deletion_timestamp is None
        and any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])
    )
    rest = {key: value for key, value in whole.items() if key[0] != "pods"}
    return rest | {("pods", "counted"): dict(pods)}


def _annotations(pod: client.V1Pod, fault: str) -> str:
    return "of a restart" if fault == "roll_out" else str(pod.metadata.annotations)


def kill_after(project: Path, fault: str, step: InjectionStep, ttl_s: float) -> None:
    """Have a harness play a fault, and die when the journal has come to a step."""
    target = project / "targets" / "test.yaml"
    spec = load_target(target)
    assert isinstance(spec, KubernetesTargetSpec)
    intent = intent_of(fault, spec.kubernetes.namespaces[0])
    play_and_die(Play(target, fault, intent, step, ttl_s, project / "state"))


def wait_until_as_before(
    before: Snapshot, look: Callable[[], Snapshot], bound_s: float = 30.0
) -> None:
    """Wait for the controllers to have settled; what then is not as it was is a failure."""
    deadline = time.monotonic() + bound_s
    while found := differences(before, look()):
        assert time.monotonic() < deadline, "\n".join(found)
        time.sleep(0.1)


@every_step
@pytest.mark.parametrize("fault", FAULTS_THERE)
def test_recover_undoes_whatever_step_the_harness_died_at(
    admin: client.ApiClient, namespace: str, project: Path, fault: str, step: InjectionStep
) -> None:
    """From the journal alone, all is as it was; a second look finds nothing to do."""
    before = settled(admin, namespace, fault)
    kill_after(project, fault, step, LONG_S)

    (outcome,) = recover()

    assert outcome.problem == ""
    wait_until_as_before(before, lambda: settled(admin, namespace, fault))
    assert recover() == []
    assert recover_expired(Catalogue(project), "test") == []


@every_step
@pytest.mark.parametrize("fault", LASTING)
def test_marks_alone_undo_whatever_step_the_harness_died_at(
    admin: client.ApiClient, namespace: str, project: Path, fault: str, step: InjectionStep
) -> None:
    """On another machine, with no journal, what outlived its time is undone; then nothing is."""
    before = settled(admin, namespace, fault)
    kill_after(project, fault, step, AT_ONCE_S)

    undone = recover_expired(Catalogue(project), "test")

    if step in IN_FORCE:
        assert undone, "a fault in force has left no mark"
    wait_until_as_before(before, lambda: settled(admin, namespace, fault))
    assert recover_expired(Catalogue(project), "test") == []
    assert all(outcome.problem == "" for outcome in recover())


@pytest.mark.parametrize("ttl_s", [LONG_S, AT_ONCE_S], ids=["journal", "marks"])
def test_harm_is_undone_where_the_owner_said_no_more(
    admin: client.ApiClient, namespace: str, project: Path, ttl_s: float
) -> None:
    """Taking the opt-in away is what one does in a panic: it forbids harm, and not its undoing."""
    before = settled(admin, namespace)
    kill_after(project, "partition_replica", InjectionStep.INJECTED, ttl_s)
    core = client.CoreV1Api(admin)
    core.patch_namespace(namespace, {"metadata": {"labels": {OPT_IN: None}}})

    if ttl_s == LONG_S:
        assert [outcome.problem for outcome in recover()] == [""]
    else:
        assert recover_expired(Catalogue(project), "test")

    wait_until_as_before(before, lambda: settled(admin, namespace))


@pytest.mark.parametrize("wrong_s", [2 * LONG_S, -2 * LONG_S], ids=["ahead", "behind"])
def test_a_wrong_clock_undoes_nothing_before_its_time_and_keeps_nothing_after(
    admin: client.ApiClient,
    namespace: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong_s: float,
) -> None:
    """Marks expire by the API server's clock, whatever that of the machine says that recovers."""
    wrong = SimpleNamespace(
        time=lambda: time.time() + wrong_s, monotonic=time.monotonic, sleep=time.sleep
    )
    monkeypatch.setattr("faultload.targets.kubernetes.api.time", wrong)
    monkeypatch.setattr("faultload.run.recover.time", wrong, raising=False)

    kill_after(project, "cordon_node", InjectionStep.INJECTED, LONG_S)
    assert recover_expired(Catalogue(project), "test") == []
    assert recover()[0].problem == ""
    kill_after(project, "cordon_node", InjectionStep.INJECTED, AT_ONCE_S)
    assert recover_expired(Catalogue(project), "test")


@pytest.mark.parametrize("fault", ["scale_to", "partition_replica"])
def test_another_machine_sees_what_a_dead_harness_left(
    target: KubernetesTarget, project: Path, fault: str
) -> None:
    """Its journal is elsewhere: the marks say that the target is not as it should be."""
    assert target.left_behind() == []
    kill_after(project, fault, InjectionStep.VERIFIED, LONG_S)

    left = target.left_behind()

    assert left
    assert all(fault in line for line in left)
    assert recover()[0].problem == ""
    assert target.left_behind() == []


def test_marks_that_have_not_expired_are_left_alone(
    admin: client.ApiClient, namespace: str, project: Path
) -> None:
    """Another harness may still be at work: only its own journal may undo that before its time."""
    kill_after(project, "cordon_node", InjectionStep.INJECTED, LONG_S)
    during = settled(admin, namespace)

    assert recover_expired(Catalogue(project), "test") == []
    wait_for(lambda: not differences(during, settled(admin, namespace)), "nothing to change")
    assert recover()[0].problem == ""


def test_a_sweeper_ends_what_expires_while_it_runs_and_ends_when_told(
    admin: client.ApiClient, namespace: str, project: Path
) -> None:
    """With no harness left, and no journal: what expired before it began, and what does later."""
    before = settled(admin, namespace)
    kill_after(project, "cordon_node", InjectionStep.INJECTED, AT_ONCE_S)
    words = ["recover", "--expired", "--target", "test", "--every", "1", "--root", str(project)]
    log = project / "sweeper.log"
    with log.open("wb") as out:
        sweeper = subprocess.Popen(
            [sys.executable, "-m", "faultload", *words], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: "cordon_node" in log.read_text(), "the cordon to be undone", 90)
        wait_until_as_before(before, lambda: settled(admin, namespace))
        kill_after(project, "partition_replica", InjectionStep.INJECTED, AT_ONCE_S)
        wait_for(lambda: "partition_replica" in log.read_text(), "the way to be free", 90)
        wait_until_as_before(before, lambda: settled(admin, namespace))
        sweeper.terminate()
        assert sweeper.wait(60) == 0, log.read_text()
    finally:
        sweeper.kill()
        sweeper.wait(10)

    assert all(outcome.problem == "" for outcome in recover())
