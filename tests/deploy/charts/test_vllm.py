"""What the vllm chart makes: shapes, places, ends, and who may reach an engine."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import yaml
from charts import CHARTS, Object, only, pod_templates, render, selects
from platform_tools import ROOT

_SHAPES = ["single-gpu", "tensor-parallel", "multi-node", "awq", "spot", "dev-simulator", "prod"]
each_shape = pytest.mark.parametrize("shape", _SHAPES)


def _pods(*layers: str, **more: Any) -> list[Object]:
    return [template for _, template in pod_templates(render("vllm", *layers, **more))]


def _engine(template: Object) -> Object:
    (engine,) = template["spec"]["containers"]
    return engine


def _value(name: str, *layers: str) -> Any:
    """Return a value as the layers leave it; `name` is a path like `drain.graceSeconds`."""
    folder = CHARTS["vllm"]
    files = [folder / "values.yaml", *(folder / "values" / f"{one}.yaml" for one in layers)]
    found = None
    for file in files:
        inner = yaml.safe_load(file.read_text(encoding="utf-8"))
        for key in name.split("."):
            inner = inner.get(key, {})
        found = found if inner == {} else inner
    return found


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
    cold_s = _value("startup.coldStartSeconds", shape)
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= engine.keys()
    probe = engine["startupProbe"]
    budget = probe["periodSeconds"] * probe["failureThreshold"]
    assert budget >= 2 * cold_s > 0


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


_MODULE = ROOT / "platform/terraform/modules/gpu-nodes/variables.tf"
_KUBEADM = ROOT / "platform/terraform/environments/kubeadm/variables.tf"


def _gpus_of_terraform() -> set[str]:
    """Return the GPUs that machines of ours can have: EKS's groups, and kubeadm's worker."""
    (families,) = re.findall(r"lookup\(\{(.*?)\}", _MODULE.read_text(encoding="utf-8"), re.DOTALL)
    known = dict(re.findall(r'(\w+)\s*=\s*"(\w+)\.', families))
    (worker,) = re.findall(r'regex\("\^\(([\w|]+)\)', _KUBEADM.read_text(encoding="utf-8"))
    by_family = {family: gpu for gpu, family in known.items()} | {"g4dn": "t4"}
    return set(known) | {by_family[family] for family in worker.split("|")}


def test_gpus_are_those_of_terraform() -> None:
    """A shape that asks for a GPU that no machine of ours can have waits for a node for ever."""
    schema = yaml.safe_load((CHARTS["vllm"] / "values.schema.json").read_text(encoding="utf-8"))
    gpus = schema["properties"]["placement"]["properties"]["gpus"]["items"]["enum"]
    assert set(gpus) <= _gpus_of_terraform()


@pytest.mark.parametrize("shape", ["single-gpu", "tensor-parallel", "multi-node"])
def test_machines_for_a_shape_are_written_down(shape: str) -> None:
    """Each pod fits one machine of an environment's group, or of the one that its values name."""
    texts = [path.read_text(encoding="utf-8") for path in _MODULE.parents[2].glob("*/*/main.tf")]
    texts.append((CHARTS["vllm"] / "values" / f"{shape}.yaml").read_text(encoding="utf-8"))
    groups = re.findall(r'gpu\s*=\s*"(\w+)",?\s*gpus\s*=\s*(\d+)', "\n".join(texts))
    (gpu,) = _value("placement.gpus", shape)
    for template in _pods(shape):
        asked = _engine(template)["resources"]["limits"]["nvidia.com/gpu"]
        assert (gpu, str(asked)) in groups


def test_spot_keeps_the_shape_s_gpu() -> None:
    """Spot says how a machine is paid; four GPUs of another kind would hold another model."""
    for layers in [("tensor-parallel", "spot"), ("single-gpu", "spot", "prod")]:
        (template,) = _pods(*layers)
        affinity = template["spec"]["affinity"]["nodeAffinity"]
        terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        found = [one for term in terms for one in term["matchExpressions"]]
        gpus = [one["values"] for one in found if one["key"] == "faultload.io/gpu"]
        assert gpus == [_value("placement.gpus", layers[0])] * 2


def test_group_is_one_replica() -> None:
    """One of two machines serves; the other has no Service, is ready with it, outlives a drain."""
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
    assert not {"startupProbe", "livenessProbe"} & helping.keys()
    assert "httpGet" not in helping["readinessProbe"]
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
    """One may go at a time, on spot half of them, and one that never became ready always."""
    budget = only(render("vllm", shape), "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == ("50%" if shape == "spot" else 1)
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@each_shape
def test_every_pod_has_one_budget(shape: str) -> None:
    """Without one it goes at any time, with two it never does; groups share it, pod by pod."""
    objects = render("vllm", shape)
    budget = only(objects, "PodDisruptionBudget")["spec"]["selector"]
    for where, template in pod_templates(objects):
        assert selects(budget, template["metadata"]["labels"]), where


@pytest.mark.parametrize(
    ("disruption", "budget"),
    [
        ({"maxUnavailable": 1}, {"maxUnavailable": 1}),
        ({"maxUnavailable": 2}, {"maxUnavailable": 4}),
        ({"maxUnavailable": None, "minAvailable": 3}, {"minAvailable": 11}),
        ({"maxUnavailable": None, "minAvailable": 2}, {"minAvailable": 8}),
    ],
    ids=str,
)
def test_budget_counts_groups(disruption: dict[str, Any], budget: dict[str, int]) -> None:
    """Of 4 groups of 3 pods: one pod more may go while all pods of the others that may are away."""
    machine = {"tensorParallelSize": 8, "pipelineParallelSize": 3}
    change = {"replicas": 4, "nodesPerReplica": 3, "engine": machine, "disruption": disruption}
    spec = only(render("vllm", "multi-node", change=change), "PodDisruptionBudget")["spec"]
    assert {key: spec[key] for key in budget} == budget


def test_group_may_speak_to_itself() -> None:
    """Pods of a group exchange tensors on any port; those that help ask the one that serves."""
    objects = render("vllm", "multi-node")
    policy = only(objects, "NetworkPolicy")["spec"]
    labels = [template["metadata"]["labels"] for _, template in pod_templates(objects)]
    for way, peers in (("ingress", "from"), ("egress", "to")):
        open_rules = [
            peer["podSelector"]
            for rule in policy[way]
            if "ports" not in rule
            for peer in rule[peers]
        ]
        assert all(any(selects(one, found) for one in open_rules) for found in labels), way


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


def test_reading_every_file_can_be_left_out() -> None:
    """Who trusts what wrote the volume starts faster; whoever does not ask for it checks."""
    change = {"source": {"fetch": {"verify": False}}}
    (template,) = _pods("prod", change=change)
    (fetch,) = template["spec"]["initContainers"]
    assert "--verify" not in fetch["args"]
    assert "--offline-ok" in fetch["args"]


def test_router_ends_answers_before_engines_do() -> None:
    """Nothing that the router waits for is longer than what an engine is sure to drain."""
    router = yaml.safe_load((CHARTS["router"] / "values.yaml").read_text(encoding="utf-8"))
    longest_s = _value("drain.longestAnswerSeconds")
    assert {key: s for key, s in router["timeouts"].items() if s > longest_s} == {}


def test_production_pulls_from_its_own_registry() -> None:
    """Terraform makes one repository for each image of each environment: inference-ENV/NAME."""
    (template,) = _pods("prod")
    images = [one["image"] for one in (_engine(template), *template["spec"]["initContainers"])]
    found = [re.sub(r"^\d+\.dkr\.ecr\.[\w-]+\.amazonaws\.com/|:.*$", "", one) for one in images]
    assert found == ["inference-prod/vllm", "inference-prod/engine-sim"]


def test_key_comes_from_a_secret() -> None:
    """It is in no argument, where everybody who may list pods reads it."""
    (template,) = _pods("prod")
    key = next(one for one in _engine(template)["env"] if one["name"] == "VLLM_API_KEY")
    assert key["valueFrom"] == {"secretKeyRef": {"name": "inference-api-key", "key": "api-key"}}


_FSX = {
    "fileSystemId": "fs-0123456789abcdef0",
    "dnsName": "fs-0123456789abcdef0.fsx.us-east-1.amazonaws.com",
    "mountName": "abcdef",
    "capacityGiB": 1200,
}


def test_volume_is_made_where_it_is_described() -> None:
    """A file system of Terraform's becomes a claim; without one the claim must be there."""
    objects = render("vllm", "prod", change={"source": {"volume": {"fsx": _FSX}}})
    claim, volume = only(objects, "PersistentVolumeClaim"), only(objects, "PersistentVolume")
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    assert volume["spec"]["csi"]["volumeHandle"] == _FSX["fileSystemId"]
    for one in (claim, volume):
        # Other releases read it when this one goes.
        assert one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert "Prune=false" in one["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
    assert not [one for one in render("vllm", "prod") if one["kind"] == "PersistentVolume"]


def test_releases_of_a_namespace_make_nothing_twice() -> None:
    """The second would take the first's objects, or be refused: one makes what all share."""
    fast = render("vllm", "single-gpu", "prod", change={"source": {"volume": {"fsx": _FSX}}})
    others = {"fsx": {**_FSX, "create": False}}
    change = {"serviceAccount": {"create": False}, "source": {"volume": others}}
    reasoning = render("vllm", "tensor-parallel", "prod", change=change, release="chat-reasoning")
    seen = Counter(
        (one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in [*fast, *reasoning]
    )
    assert [name for name, count in seen.items() if count > 1] == []
    shared = {
        volume["persistentVolumeClaim"]["claimName"]
        for objects in (fast, reasoning)
        for _, template in pod_templates(objects)
        for volume in template["spec"]["volumes"]
        if volume["name"] == "models"
    }
    assert shared == {only(fast, "PersistentVolumeClaim")["metadata"]["name"]}
