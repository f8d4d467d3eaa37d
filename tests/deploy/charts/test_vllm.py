"""What the vllm chart makes: shapes, places, ends, and who may reach an engine."""

from __future__ import annotations

from typing import Any

import pytest
from charts import Object, only, pod_templates, render, selects

_SHAPES = ["single-gpu", "tensor-parallel", "multi-node", "awq", "spot", "dev-simulator", "prod"]
each_shape = pytest.mark.parametrize("shape", _SHAPES)


def _pods(*layers: str, **more: Any) -> list[Object]:
    return [template for _, template in pod_templates(render("vllm", *layers, **more))]


def _engine(template: Object) -> Object:
    (engine,) = template["spec"]["containers"]
    return engine


def _flags(engine: Object) -> dict[str, str]:
    pairs = (flag.removeprefix("--").partition("=") for flag in engine["args"])
    return {name: value for name, _, value in pairs}


@each_shape
def test_end_fits_into_the_grace_period(shape: str) -> None:
    """SIGKILL comes after the last answer: preStop and drain end before the grace period."""
    for template in _pods(shape):
        engine = _engine(template)
        grace = template["spec"]["terminationGracePeriodSeconds"]
        slept = engine["lifecycle"]["preStop"]["sleep"]["seconds"]
        drained = int(_flags(engine)["shutdown-timeout"])
        assert 0 < slept < grace
        assert drained > 0
        if "startupProbe" in engine:  # it serves
            assert slept + drained < grace


def test_spot_chain_fits_two_minutes() -> None:
    """From the notice to the end: 5 s until the drain begins, then the whole grace period."""
    (template,) = _pods("spot")
    assert 5 + template["spec"]["terminationGracePeriodSeconds"] < 120


@each_shape
def test_start_has_twice_the_time_it_takes(shape: str) -> None:
    """A start that is killed half way begins anew, and never comes to its end."""
    engine = _engine(_pods(shape)[0])
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= engine.keys()
    probe = engine["startupProbe"]
    budget = probe["periodSeconds"] * probe["failureThreshold"]
    cold = {"dev-simulator": 5, "tensor-parallel": 420, "multi-node": 1200}.get(shape, 300)
    assert budget >= 2 * cold


@pytest.mark.parametrize(
    ("shape", "gpus", "flags"),
    [
        ("single-gpu", 1, {"tensor-parallel-size": "1"}),
        ("tensor-parallel", 4, {"tensor-parallel-size": "4"}),
        (
            "multi-node",
            8,
            {"tensor-parallel-size": "8", "pipeline-parallel-size": "2", "nnodes": "2"},
        ),
        ("awq", 1, {"quantization": "awq", "dtype": "half"}),
        ("dev-simulator", None, {"served-model-name": "chat-fast"}),
    ],
)
def test_shape_asks_for_what_it_uses(shape: str, gpus: int | None, flags: dict[str, str]) -> None:
    """GPUs that are asked for are those that vLLM is told to use."""
    for template in _pods(shape):
        engine = _engine(template)
        assert engine["resources"]["limits"].get("nvidia.com/gpu") == gpus
        assert flags.items() <= _flags(engine).items()


def test_group_is_one_replica() -> None:
    """Of two machines one serves; the other has no probe and no Service, and outlives the drain."""
    objects = render("vllm", "multi-node")
    group = only(objects, "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    leader, worker = group["leaderTemplate"], group["workerTemplate"]
    service = {"matchLabels": only(objects, "Service")["spec"]["selector"]}
    assert group["restartPolicy"] == "RecreateGroupOnPodRestart"
    assert selects(service, leader["metadata"]["labels"])
    assert not selects(service, worker["metadata"]["labels"])
    serving, helping = _engine(leader), _engine(worker)
    assert "--headless" in helping["args"]
    assert "--headless" not in serving["args"]
    assert not {"startupProbe", "livenessProbe", "readinessProbe"} & helping.keys()
    slept = {
        name: one["lifecycle"]["preStop"]["sleep"]["seconds"]
        for name, one in (("serving", serving), ("helping", helping))
    }
    assert slept["helping"] >= slept["serving"] + int(_flags(serving)["shutdown-timeout"])


@pytest.mark.parametrize(
    ("capacity", "managed", "karpenter"),
    [("spot", "SPOT", "spot"), ("on-demand", "ON_DEMAND", "on-demand")],
)
def test_kind_of_machine_is_required(capacity: str, managed: str, karpenter: str) -> None:
    """Preferred would let spot become on-demand, and the other way round, without a word."""
    layers = ("spot",) if capacity == "spot" else ()
    (template,) = _pods(*layers)
    affinity = template["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    found = [{one["key"]: one["values"] for one in term["matchExpressions"]} for term in terms]
    assert [one.get("eks.amazonaws.com/capacityType") for one in found] == [[managed], None]
    assert [one.get("karpenter.sh/capacity-type") for one in found] == [None, [karpenter]]
    assert all(one["faultload.io/gpu"] for one in found)
    tolerated = {one["key"] for one in template["spec"]["tolerations"]}
    assert ("faultload.io/spot" in tolerated) == (capacity == "spot")


def test_any_node_will_do_without_a_gpu() -> None:
    """A laptop's cluster has neither labels nor taints of ours."""
    (template,) = _pods("dev-simulator")
    assert "affinity" not in template["spec"]
    assert "nvidia.com/gpu" not in {one["key"] for one in template["spec"]["tolerations"]}


@pytest.mark.parametrize(
    ("gpus", "surge", "unavailable"),
    [(0, 0, 1), (1, 1, 0), (3, 3, 0)],
    ids=["none", "one", "three"],
)
def test_rollout_uses_the_gpus_there_are(gpus: int, surge: int, unavailable: int) -> None:
    """With no GPU to spare a successor would wait for ever for its predecessor's."""
    change = {"rollout": {"spareGpus": gpus}}
    strategy = only(render("vllm", change=change), "Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": surge, "maxUnavailable": unavailable}


@each_shape
def test_budget_lets_a_node_be_drained(shape: str) -> None:
    """One may go at a time, and one that never became ready always."""
    for one in render("vllm", shape):
        if one["kind"] == "PodDisruptionBudget":
            assert one["spec"]["maxUnavailable"] == 1
            assert one["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@each_shape
def test_engines_are_reached_by_router_and_prometheus_only(shape: str) -> None:
    """Metrics, tokenizer and invocations of vLLM ask for no key, so nobody else may reach them."""
    policy = only(render("vllm", shape), "NetworkPolicy")["spec"]
    (outside, *inside) = policy["ingress"]
    assert outside["ports"] == [{"protocol": "TCP", "port": 8000}]
    found = [
        (
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
            *peer["podSelector"]["matchLabels"].values(),
        )
        for peer in outside["from"]
    ]
    assert found == [("inference", "router"), ("observability", "prometheus")]
    assert bool(inside) == (shape == "multi-node")


@each_shape
def test_series_have_the_labels_that_queries_use(shape: str) -> None:
    """metrics.yaml lists them for job engine; without `tier` no trigger would find its tier."""
    (endpoint,) = only(render("vllm", shape), "PodMonitor")["spec"]["podMetricsEndpoints"]
    labels = {one["targetLabel"] for one in endpoint["relabelings"]}
    assert labels == {"job", "tier", "replica", "node", "zone"}
    assert endpoint["relabelings"][0] == {"targetLabel": "job", "replacement": "engine"}


def test_weights_are_checked_before_the_engine_starts() -> None:
    """A file that is not the one of the manifest keeps the pod from starting, on a volume too."""
    for layers in [(), ("prod",), ("multi-node",)]:
        for template in _pods(*layers):
            (fetch,) = template["spec"]["initContainers"]
            assert {"--verify", "--offline-ok"} <= set(fetch["args"])
            into = next(arg for arg in fetch["args"] if arg.startswith("--into="))
            assert into.removeprefix("--into=") == _engine(template)["args"][0]
            models = [m for m in _engine(template)["volumeMounts"] if m["name"] == "models"]
            assert [one["readOnly"] for one in models] == [True]


def test_key_comes_from_a_secret() -> None:
    """It is in no argument, where everybody who may list pods reads it."""
    (template,) = _pods("prod")
    key = next(one for one in _engine(template)["env"] if one["name"] == "VLLM_API_KEY")
    assert key["valueFrom"] == {"secretKeyRef": {"name": "inference-api-key", "key": "api-key"}}


def test_volume_is_made_where_it_is_described() -> None:
    """A file system of Terraform's becomes a claim; without one the claim must be there."""
    fsx = {
        "fileSystemId": "fs-0123456789abcdef0",
        "dnsName": "fs-0123456789abcdef0.fsx.us-east-1.amazonaws.com",
        "mountName": "abcdef",
        "capacityGiB": 1200,
    }
    objects = render("vllm", "prod", change={"source": {"volume": {"fsx": fsx}}})
    claim, volume = only(objects, "PersistentVolumeClaim"), only(objects, "PersistentVolume")
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    assert volume["spec"]["csi"]["volumeHandle"] == fsx["fileSystemId"]
    assert not [one for one in render("vllm", "prod") if one["kind"] == "PersistentVolume"]
