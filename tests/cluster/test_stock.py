"""Stock Chaos Toolkit experiments on a real control plane: bounded, proven, judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import ControlPlane
from kube_objects import kubeconfig_for, list_pods
from kube_targets import snapshot, target_spec
from kubelet import Kubelet
from kubernetes import client
from projects import Project, make_project
from snapshots import differences
from streaming_server import streaming_server

from faultload.errors import ExitCode
from faultload.targets import DELETE_REPLICA
from faultload.targets.kubernetes import rules_for

pytestmark = pytest.mark.usefixtures("controllers")

_OPTIONS = ("--target", "cluster", "--scenario", "chat-steady", "--slos", "chat")
_TERMINATE = "chaosk8s.pod.actions.terminate_pods"


def activity(kind: str, function: str, **arguments: Any) -> dict[str, Any]:
    """Return an activity that calls a function of chaosk8s."""
    module, _, func = function.rpartition(".")
    provider = {"type": "python", "module": module, "func": func, "arguments": arguments}
    return {"type": kind, "name": func.replace("_", "-"), "provider": provider}


@pytest.fixture
def project(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    """Yield a project whose target `cluster` may delete pods and no more.

    KUBECONFIG leads to no cluster: what signs in as chaosk8s does by itself gets nowhere.
    """
    project = make_project(tmp_path, {})
    rules = rules_for([DELETE_REPLICA], [namespace])
    kubeconfig = kubeconfig_for(control_plane, namespace, *rules)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none.yaml"))
    with streaming_server(0.05) as server:
        spec = target_spec(admin, kubeconfig, namespace, inference_url=server.url)
        target = spec.model_dump(mode="json") | {
            "phases": {"warmup_s": 1, "baseline_s": 4, "recovery_s": 4}
        }
        (tmp_path / "targets" / "cluster.yaml").write_text(yaml.safe_dump(target), encoding="utf-8")
        yield project


def stock(project: Project, action: dict[str, Any], namespace: str) -> str:
    """Write a plain Chaos Toolkit experiment and return its path."""
    document = {
        "title": "Losing a pod is not seen by users",
        "description": "A controller replaces it.",
        "steady-state-hypothesis": {
            "title": "Engines run",
            "probes": [
                activity(
                    "probe",
                    "chaosk8s.pod.probes.pods_in_phase",
                    label_selector="app=engine",
                    ns=namespace,
                )
                | {"tolerance": True}
            ],
        },
        "method": [action | {"pauses": {"after": 2}}],
    }
    path = project.path / "stock.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(path)


@pytest.mark.usefixtures("engines")
def test_a_stock_experiment_runs_under_our_load_and_verdict(
    project: Project, admin: client.ApiClient, namespace: str
) -> None:
    """The dry run names the victim; the run deletes one, proves it, and is judged and reported."""
    action = activity("action", _TERMINATE, label_selector="app=engine", ns=namespace)
    path = stock(project, action, namespace)
    before = {pod.metadata.uid for pod in list_pods(admin, namespace, {"app": "engine"})}

    dry = project.faultload("run", path, *_OPTIONS, "--dry-run", "--json")
    with Kubelet(admin, namespace):
        done = project.faultload("run", path, *_OPTIONS)

    (would,) = json.loads(dry.stdout)[0]["faults"]
    assert (would["fault"], len(would["victims"])) == ("terminate_pods", 1), dry.stderr
    certified = done.returncode in (ExitCode.PASS, ExitCode.INCONCLUSIVE)
    assert certified or project.was_late(), done.stdout + done.stderr
    if not project.was_late():
        assert project.verdict()["verdict"] in ("pass", "inconclusive")
    run = project.run_directory()
    steps = [
        json.loads(line) for line in (run / "record/injections.jsonl").read_text().splitlines()
    ]
    assert steps[-1]["step"] == "verified_reverted"
    (planned,) = steps[0]["plan"]["victims"]
    left = {pod.metadata.uid for pod in list_pods(admin, namespace, {"app": "engine"})}
    assert before - left == {planned["uid"]} == {would["victims"][0]["uid"]}
    assert (run / "report.html").exists()
    manifest = json.loads((run / "record/manifest.json").read_text(encoding="utf-8"))
    assert "--scenario chat-steady --slos chat" in manifest["repeat"]


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize(
    ("function", "arguments", "code", "said"),
    [
        ("chaosk8s.node.actions.drain_nodes", {"name": "node"}, 75, "use drain_node"),
        (_TERMINATE, {"label_selector": "app=engine", "qty": 2}, 75, "over the blast radius of 1"),
        (_TERMINATE, {"label_selector": "app=nobody"}, 3, "found none"),
    ],
)
def test_what_is_not_allowed_touches_nothing(
    project: Project,
    admin: client.ApiClient,
    namespace: str,
    function: str,
    arguments: dict[str, Any],
    code: int,
    said: str,
) -> None:
    """An action off the list, more victims than allowed, nobody to hit: never a pass."""
    own = {"ns": namespace} if function == _TERMINATE else {}
    path = stock(project, activity("action", function, **arguments, **own), namespace)
    words = ["--dry-run"] if code == ExitCode.INVALID else []  # the same answer, sooner
    before = snapshot(admin, namespace, but="leases")

    done = project.faultload("run", path, *_OPTIONS, *words)

    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert differences(before, snapshot(admin, namespace, but="leases")) == []
