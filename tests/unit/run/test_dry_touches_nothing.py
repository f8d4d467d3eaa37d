"""A dry run gives no order: not to a platform in memory, a local one, or the API of a cluster."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from memory import Platform, replica

from faultload.faults import FAULTS
from faultload.run.dry import DryRun, dry_run
from faultload.run.plan import RunPlan, prepare
from faultload.spec import Catalogue, KubernetesTargetSpec, LocalTargetSpec, load_target
from faultload.targets import LocalTarget
from faultload.targets.control import ControlApi
from faultload.targets.kubernetes import KubernetesTarget

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAMES = sorted(
    str(path.relative_to(ROOT / "experiments").with_suffix(""))
    for path in (ROOT / "experiments").rglob("*.yaml")
)
TIERS = ("fast", "reasoning")


@pytest.fixture(scope="module")
def plans() -> list[RunPlan]:
    """Return the plan of every shipped experiment."""
    return [prepare(Catalogue(ROOT), name, "local") for name in NAMES]


@pytest.fixture(autouse=True)
def _no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count no requests: making each trace takes longer than all the rest."""
    monkeypatch.setattr("faultload.run.dry._requests", lambda _: 0)


def resolved(runs: list[DryRun]) -> set[str]:
    """Return the faults whose victims were found."""
    return {one.fault for run in runs for one in run.faults if not one.problem}


def test_shipped_experiments_have_every_fault_of_a_laptop(plans: list[RunPlan]) -> None:
    """So that what follows is about all of them."""
    tried = {name for plan in plans for name, _ in plan.faults}
    assert {
        name for name in FAULTS if not name.endswith(("_deployment", "_statefulset"))
    } - tried <= {"terminate_pods"}


def test_platform_in_memory_is_asked_to_do_nothing(
    plans: list[RunPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No act, no lock, no state, no record."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    platform = Platform(*(replica(f"{tier}-{n}", tier=tier) for tier in TIERS for n in range(2)))

    runs = [dry_run(plan, platform, NOW) for plan in plans]

    assert len(resolved(runs)) > 10
    assert platform.acts == []
    assert list((tmp_path / "faultload").glob("*")) == []  # at most the folder itself is made


def state() -> dict[str, Any]:
    """Return what a local platform says of itself, as far as faults look."""
    replicas = [
        {
            "name": f"{tier}-{n}",
            "uid": f"u-{tier}-{n}",
            "tier": tier,
            "node": f"node-{'ab'[n]}",
            "zone": f"local-{'ab'[n]}",
            "ready": True,
            "restarts": 0,
            "inflight": n,
            "revision": "r1",
            "phase": "running",
            "waits_for": "",
            "url": "http://127.0.0.1:1",
        }
        for tier in TIERS
        for n in range(2)
    ]
    nodes = [
        {
            "name": f"node-{which}",
            "instance_id": f"i-{which}",
            "zone": f"local-{which}",
            "state": "ready",
            "cordoned": False,
            "instance_type": "g6.12xlarge",
            "capacity_type": {"a": "on-demand", "b": "spot"}[which],
            "price_usd_per_hour": 2.0,
            "pool": "",
            "gpus": 4,
        }
        for which in "ab"
    ]
    tiers = [
        {
            "name": name,
            "wanted": 2,
            "ready": 2,
            "updated": 2,
            "complete": True,
            "stalled": False,
            "scaled_by": "",
            "scale_annotation": "",
            "annotation": "",
            "revision": "r1",
            "model": f"chat-{name}",
            "max_unavailable": 1,
            "slow_factor": 1.0,
        }
        for name in TIERS
    ]
    parts = ("router", "redis", "prometheus", "model-store")
    components = [
        {
            "name": name,
            "uid": f"u-{name}",
            "ready": True,
            "restarts": 0,
            "held": False,
            "url": "http://127.0.0.1:1",
        }
        for name in parts
    ]
    links = [
        {
            "name": name,
            "listen": ["127.0.0.1", 1],
            "to": ["127.0.0.1", 1],
            "partitioned": False,
            "latency_s": 0.0,
            "jitter_s": 0.0,
            "bytes_per_s": None,
            "reset_share": 0.0,
        }
        for name in ("redis", "model-store", *(str(one["name"]) for one in replicas))
    ]
    return {
        "replicas": replicas,
        "nodes": nodes,
        "tiers": tiers,
        "components": components,
        "links": links,
        "shortages": [],
    }


def test_control_api_is_only_read(
    plans: list[RunPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the fault, the local platform is asked how it is and given no order."""
    asked: list[tuple[str, str]] = []

    def ask(_: ControlApi, method: str, path: str, *__: Any, **___: Any) -> Any:
        asked.append((method, path))
        return [] if path == "/v1/events" else state()

    monkeypatch.setattr(ControlApi, "ask", ask)
    monkeypatch.setattr(ControlApi, "result", lambda _, answer: answer)
    about = {
        "platform_id": "p",
        "pid": 1,
        "control_url": "http://127.0.0.1:1",
        "imds_url": "http://127.0.0.1:1",
        "token_file": str(tmp_path / "token"),
        "router_url": "http://127.0.0.1:1",
        "prometheus_url": "http://127.0.0.1:1",
    }
    (tmp_path / "token").write_text("secret", encoding="utf-8")
    (tmp_path / "platform.json").write_text(json.dumps(about), encoding="utf-8")
    spec = load_target(ROOT / "targets/local.yaml")
    assert isinstance(spec, LocalTargetSpec)
    target = LocalTarget(spec, tmp_path)

    runs = [dry_run(plan, target, NOW) for plan in plans]

    assert len(resolved(runs)) > 15
    assert {method for method, _ in asked} == {"GET"}
    assert all(run.usd_per_h == 4.0 for run in runs)
    assert all(one.calls.inject for run in runs for one in run.faults if not one.problem)


class FakeCluster:
    """The API of a cluster, as far as its client is used.

    Attributes:
        changes: method and path of each call that is no GET.
    """

    def __init__(self) -> None:
        self.configuration = SimpleNamespace(host="https://api", api_key={})
        self.user_agent = "test"
        self.rest_client = SimpleNamespace(pool_manager=self)
        self.changes: list[tuple[str, str]] = []
        self._uids = itertools.count()
        self._objects = self._make()

    def update_params_for_auth(self, *_: object) -> None:
        """Nothing is added."""

    def clear(self) -> None:
        """Nothing is pooled."""

    def close(self) -> None:
        """Nothing is open."""

    def request(self, method: str, url: str, **_: Any) -> SimpleNamespace:
        """Answer from what there is."""
        where = urlsplit(url)
        if method != "GET":
            self.changes.append((method, where.path))
            return self._answer({"status": {"allowed": True}})
        *_, resource = where.path.split("/")
        kind, name = where.path.split("/")[-2:]
        named = [one for one in self._objects.get(kind, []) if _name(one) == name]
        if named:
            return self._answer(named[0])
        labels = parse_qs(where.query).get("labelSelector", [""])[0]
        items = [one for one in self._objects.get(resource, []) if _has(one, labels)]
        return self._answer({"metadata": {}, "items": items})

    def _answer(self, body: Mapping[str, Any]) -> SimpleNamespace:
        return SimpleNamespace(status=200, data=json.dumps(body).encode(), headers={})

    def _object(self, name: str, owner: str = "", **more: Any) -> dict[str, Any]:
        metadata = {"name": name, "uid": f"u-{name}", "namespace": "inference", "generation": 1}
        metadata |= more.pop("metadata", {})
        if owner:
            metadata["ownerReferences"] = [
                {"kind": "X", "name": owner, "uid": f"u-{owner}", "controller": True}
            ]
        return {"metadata": metadata, **more}

    def _make(self) -> dict[str, list[dict[str, Any]]]:
        opted_in = {"labels": {"faultload.dev/opt-in": "true"}}
        zones = {"0": "eu-a", "1": "eu-b"}
        nodes = [
            self._object(
                f"node-{n}",
                metadata={"labels": {"topology.kubernetes.io/zone": zone}},
                spec={},
                status={"conditions": [{"type": "Ready", "status": "True"}]},
            )
            for n, zone in zones.items()
        ]
        kept: dict[str, list[dict[str, Any]]] = {"deployments": [], "replicasets": [], "pods": []}
        for tier in TIERS:
            labels = {"app.kubernetes.io/name": "vllm", "faultload.dev/tier": tier}
            template = {"metadata": {"labels": labels}, "spec": {"containers": []}}
            status = {"observedGeneration": 1, "replicas": 2}
            spec = {"replicas": 2, "template": template, "selector": {"matchLabels": labels}}
            kept["deployments"].append(self._object(tier, spec=spec, status=status))
            kept["replicasets"].append(self._object(f"{tier}-rs", tier, spec=spec))
            kept["pods"] += [
                self._object(
                    f"{tier}-{n}",
                    f"{tier}-rs",
                    metadata={"labels": labels},
                    spec={"nodeName": f"node-{n}", "containers": []},
                    status={"conditions": [{"type": "Ready", "status": "True"}]},
                )
                for n in range(2)
            ]
        namespaces = [
            # The UID that the example's target file holds.
            self._object("kube-system", metadata={"uid": "00000000-0000-0000-0000-000000000000"}),
            self._object("inference", metadata=opted_in),
        ]
        return {**kept, "nodes": nodes, "namespaces": namespaces}


def _name(one: Mapping[str, Any]) -> str:
    return str(one["metadata"]["name"])


def _has(one: Mapping[str, Any], selector: str) -> bool:
    labels = one["metadata"].get("labels") or {}
    pairs = [part.split("=") for part in selector.split(",") if part]
    return all(labels.get(key) == value for key, value in pairs)


def test_cluster_s_api_is_only_read(
    plans: list[RunPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is created there is a question about rights, of which the cluster keeps nothing."""
    fake = FakeCluster()
    monkeypatch.setattr("faultload.targets.kubernetes.target.sign_in", lambda *_: fake)
    path = tmp_path / "staging.yaml"
    shutil.copy(ROOT / "targets/staging.example.yaml", path)
    spec = load_target(path)
    assert isinstance(spec, KubernetesTargetSpec)
    target = KubernetesTarget.attach(spec, {"kubeconfig": "none", "target_file": str(path)})

    runs = [dry_run(plan, target, NOW) for plan in plans]

    assert {"kill_replica", "drain_node", "cordon_node", "partition_replica"} <= resolved(runs)
    assert len(resolved(runs)) > 7
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert set(fake.changes) == {("POST", reviews)}
    killed = next(one for run in runs for one in run.faults if one.fault == "kill_replica")
    assert killed.calls.inject == ["get, delete pods in its namespaces"]
