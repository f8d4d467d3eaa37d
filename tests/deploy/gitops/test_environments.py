"""Each environment as a whole: what Argo CD installs there fits what Terraform makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import environment_rules as rules
import pytest
from charts import CHARTS, render, value_files
from environments import (
    Environment,
    associations,
    listed,
    made_by_others,
    operators,
    read,
    repositories,
)
from gitops import ENVIRONMENTS
from machines import MACHINES
from terraform_code import PLATFORM, parse

Rule = Callable[[Environment], Iterator[str]]
_each_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


@_each_environment
@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_rules_hold(name: str, rule: Rule) -> None:
    """No environment breaks a rule of `environment_rules`."""
    assert list(rule(read(name))) == []


@pytest.mark.parametrize("chart", [name for name in CHARTS if "prod" in value_files(name)])
def test_prod_layers_name_images_that_terraform_has_repositories_for(chart: str) -> None:
    """A layer is installed by hand, too, as docs/deploy.md does: no Application mends its image."""
    prod = read("prod")
    bare = {
        name: replace(release, objects=tuple(render(chart, "prod")))
        for name, release in prod.of_chart(chart).items()
    }
    assert bare
    assert list(rules.images(replace(prod, releases=bare))) == []


_ALB = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup"
# Environment, rule, the mistake in a release's values, and what is said of it.
_MISTAKES: list[tuple[str, Rule, dict[str, dict[str, Any]], str]] = [
    ("staging", rules.placement, {"chat-fast": {"placement": {"gpus": ["h100"]}}}, "wants no l4"),
    (
        "prod",
        rules.placement,
        {"chat-fast": {"engine": {"resources": {"memoryGiB": 15}}}},
        "g6.xlarge lacks 15 GiB",
    ),
    (
        "prod",
        rules.placement,
        {"chat-reasoning": {"engine": {"tensorParallelSize": 8}}},
        "lacks 8 GPUs, has 4",
    ),
    (
        "prod",
        rules.placement,
        {"chat-fast": {"autoscaling": {"maxReplicas": 40}}},
        "up to 40 replicas, and l4 have room for",
    ),
    (
        "prod",
        rules.system_nodes,
        {"observability": {"prometheus": {"resources": {"cpu": "2", "memoryMiB": 65536}}}},
        "Prometheus/observability: m7i.* lacks 64 GiB",
    ),
    (
        "staging",
        rules.system_nodes,
        {"faultload": {"placement": {"nodeSelector": {"pool": "harness"}}}},
        "wants labels",
    ),
    (
        "staging",
        rules.system_room,
        {"faultload": {"load": {"machines": 12}}},
        "of cpu, pods without a GPU ask for",
    ),
    (
        "staging",
        rules.images,
        {"router": {"image": {"repository": "1.dkr.ecr.us-east-1.amazonaws.com/router"}}},
        "expected one of inference-staging/",
    ),
    (
        "prod",
        rules.images,
        {
            "faultload": {"image": {"repository": "localhost:5000/a"}},
            "cache": {"image": {"repository": "faultload/cache"}},
        },
        "faultload/cache:.* Docker Hub",
    ),
    (
        "prod",
        rules.storage_classes,
        {"observability": {"prometheus": {"storageClassName": "gp3"}}},
        "nobody makes the StorageClass gp3",
    ),
    (
        "prod",
        rules.identities,
        {"chat-fast": {"serviceAccount": {"name": "engines"}}},
        "no role for inference/engines",
    ),
    (
        "staging",
        rules.identities,
        {"faultload": {"serviceAccount": {"name": "harness"}}},
        "no role for faultload/harness",
    ),
    (
        "staging",
        rules.namespaces,
        {"observability": {"prometheus": {"clientNamespaces": ["keda"]}}},
        "there is no namespace keda",
    ),
    (
        "staging",
        rules.namespaces,
        {"observability": {"monitors": {"keda": {"namespace": "keda"}}}},
        "keda-operator is in observability",
    ),
    ("staging", rules.door, {"router": {"network": {"clientCidrs": ["10.0.0.0/16"]}}}, "lets in"),
    (
        "prod",
        rules.door,
        {
            "router": {
                "targetGroupBinding": {"arn": f"{_ALB}/inference-staging-router/0123456789abcdef"}
            }
        },
        "expected a TargetGroupBinding to :targetgroup/inference-prod-router/",
    ),
    ("staging", rules.door, {"router": {"ingress": {"enabled": True}}}, "an Ingress"),
    ("staging", rules.keys, {"faultload": {"load": {"apiKeyEnv": ""}}}, "brings no key"),
    (
        "staging",
        rules.keys,
        {
            name: {"engine": {"apiKeySecret": {"name": ""}}}
            for name in ("chat-fast", "chat-reasoning")
        },
        "engines check none",
    ),
    (
        "prod",
        rules.needs,
        {"chat-fast": {"engine": {"apiKeySecret": {"name": "another"}}}},
        "nobody makes inference/another",
    ),
    (
        "prod",
        rules.needs,
        {"chat-reasoning": {"source": {"volume": {"claimName": "weights"}}}},
        "nobody makes inference/weights",
    ),
    (
        "staging",
        rules.owners,
        {"chat-reasoning": {"serviceAccount": {"create": True}}},
        "ServiceAccount/inference/vllm is made by chat-fast, too",
    ),
    (
        "staging",
        rules.buckets,
        {"chat-fast": {"source": {"s3Uri": "s3://faultload-models/models"}}},
        "expected s3://example-inference-staging-models/models",
    ),
    (
        "staging",
        rules.buckets,
        {"faultload": {"upload": {"s3Uri": "s3://faultload-reports/game-days"}}},
        "expected the bucket example-faultload-staging-reports",
    ),
    (
        "prod",
        rules.answers,
        {"chat-fast": {"drain": {"shutdownTimeoutSeconds": 60, "longestAnswerSeconds": 60}}},
        "drains for 60 s, the router allows",
    ),
    (
        "staging",
        rules.answers,
        {"chat": {"timeouts": {"answerSeconds": 70}, "drain": {"drainSeconds": 70}}},
        "chat: drains for 70 s, the router allows",
    ),
    (
        "prod",
        rules.answers,
        {"chat": {"timeouts": {"answerSeconds": 75}}},
        "chat: allows an answer 75 s, the router",
    ),
    (
        "staging",
        rules.load,
        {
            "faultload": {
                "target": {"kubernetes": {"inference_url": "http://router.inference.svc:8080"}}
            }
        },
        "expected https://llm-staging.example.com",
    ),
    ("staging", rules.groups, {"faultload": {"groups": ["everybody"]}}, "binds {'everybody'}"),
    (
        "staging",
        rules.weights,
        {"chat-reasoning": {"source": {"sizeGiB": 140}}},
        r"chat-fast: startup.budgetSeconds is 600: 296 GiB .* at 293 MB/s take 1085 s",
    ),
    (
        "prod",
        rules.samples,
        {"observability": {"prometheus": {"remoteWrite": {"url": "", "region": ""}}}},
        "writes to 0 places",
    ),
]


@pytest.mark.parametrize(
    ("name", "rule", "values", "said"),
    _MISTAKES,
    ids=[f"{name}-{rule.__name__}-{number}" for number, (name, rule, *_) in enumerate(_MISTAKES)],
)
def test_mistakes_are_seen(
    name: str, rule: Rule, values: dict[str, dict[str, Any]], said: str
) -> None:
    """Each rule says which mistake it is."""
    found = list(rule(read(name, values)))
    assert any(re.search(said, text) for text in found), found


def test_smaller_machines_are_seen() -> None:
    """A rule looks at Terraform's side, too: the same engines on machines that cannot hold them."""
    groups = read("prod").platform["gpu_groups"]
    fewer = {
        name: {**group, "gpus": 1, "instance_types": ["g6.xlarge"]}
        for name, group in groups.items()
    }
    assert any(
        "lacks 4 GPUs" in text
        for text in rules.placement(read("prod", platform={"gpu_groups": fewer}))
    )
    system = {"system_nodes": {"instance_types": ["t3.large"]}}
    assert any("Prometheus" in text for text in rules.system_nodes(read("prod", platform=system)))
    staging = read("staging").platform["gpu_groups"]
    alone = {name: {**group, "size": 0} for name, group in staging.items()}
    assert "0 SPOT" in next(rules.victims(read("staging", platform={"gpu_groups": alone})))
    slow = read("staging", platform={"lustre": {"enabled": True}})
    assert any(
        re.search(r"chat-reasoning: startup.budgetSeconds is 900: .* at 146 MB/s", text)
        for text in rules.weights(slow)
    )
    elsewhere = read("prod", platform={"cidr": "10.50.0.0/16"})
    assert any("10.50.224.0/24" in text for text in rules.door(elsewhere))


def test_every_rule_has_its_mistake() -> None:
    """A rule that nothing breaks here may never have worked."""
    # That of `victims` is Terraform's own: test_smaller_machines_are_seen.
    assert {rule for _, rule, *_ in _MISTAKES} | {rules.victims} == set(rules.RULES)


def test_operators_are_those_of_the_page() -> None:
    """Before the first wave there are the charts that Terraform installs, and no others."""
    assert listed("an operator") == {(place, name) for name, place in operators().items()}


def test_what_is_read_of_terraform_is_there() -> None:
    """Names that are found by their form in the text: a form that changed would find nothing."""
    assert {"keda", "dcgm-exporter", "kube-prometheus-stack"} <= operators().keys()
    assert {("inference", "vllm"), ("faultload", "faultload")} <= associations()
    assert {"vllm", "router", "faultload"} <= repositories()
    assert ("inference", "inference-api-key") in made_by_others()
    nodes = parse(PLATFORM / "modules/gpu-nodes").text
    for label in (
        "faultload.io/gpu",
        "faultload.io/gpus",
        "nvidia.com/gpu.present",
        "faultload.io/spot",
    ):
        assert f'"{label}"' in nodes
    network = parse(PLATFORM / "modules/network").text
    assert "cidrsubnet(var.cidr, 8, 224 + i)" in network
    cluster = parse(PLATFORM / "modules/cluster").text
    assert "defaultStorageClass = { enabled = true }" in cluster


@_each_environment
def test_every_machine_is_known(name: str) -> None:
    """What an environment asks EC2 for is in our table, with as many GPUs as its group says."""
    environment = read(name)
    for group in environment.platform["gpu_groups"].values():
        for machine in group["instance_types"]:
            assert MACHINES[machine].gpus >= int(group["gpus"]), machine
    for machine in environment.platform["system_nodes"]["instance_types"]:
        assert MACHINES[machine].gpus == 0, machine
