"""Mistakes that the vllm chart refuses while it is rendered, each by the name of its rule."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from charts import CHARTS, pod_templates, refusal, render, value_files

# Rule, layers, the mistake (`release`: its name), and what the refusal must say besides.
_MISTAKES: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
    (
        "release-is-named-for-its-tier",
        (),
        {"tier": "reasoning", "release": "chat-fast"},
        '"chat-fast" .*"reasoning".*expected the name chat-reasoning',
    ),
    ("release-is-named-for-its-tier", ("multi-node",), {"release": "big"}, '"big"'),
    (
        "release-is-named-for-its-tier",
        (),
        {"tier": "fast-eu", "autoscaling": {"enabled": False}},
        '"fast-eu".*ends at a hyphen',
    ),
    ("prestop-covers-endpoint-removal", (), {"drain": {"preStopSeconds": 0}}, "for 10 s"),
    (
        "drain-fits-grace",
        (),
        {"drain": {"graceSeconds": 115}},
        "= 115 s, expected less .* of 115 s",
    ),
    ("drain-fits-grace", ("spot",), {"drain": {"shutdownTimeoutSeconds": 80}}, "= 110 s"),
    ("drain-covers-longest-answer", (), {"drain": {"longestAnswerSeconds": 600}}, "600 s .* 90 s"),
    ("spot-chain-fits-notice", ("spot",), {"drain": {"graceSeconds": 120}}, "= 125 s.* 120 s"),
    ("spot-chain-fits-notice", (), {"placement": {"capacity": "spot"}}, "values/spot.yaml"),
    ("spot-chain-fits-notice", ("spot",), {"spot": {"detectionSeconds": 10}}, "= 120 s"),
    ("startup-covers-cold-start", (), {"startup": {"budgetSeconds": 300}}, "300 s"),
    ("startup-covers-cold-start", (), {"startup": {"coldStartSeconds": 301}}, "301 s"),
    ("liveness-after-readiness", (), {"probes": {"liveness": {"failures": 1}}}, "10 s .* 10 s"),
    ("probe-timeout-within-period", (), {"probes": {"liveness": {"timeoutSeconds": 11}}}, "11 s"),
    (
        "budget-lets-one-go",
        (),
        {"disruption": {"minAvailable": 2, "maxUnavailable": None}},
        "2 of 2 replicas.*expected 1 at most",
    ),
    (
        "budget-lets-one-go",
        ("multi-node",),
        {"disruption": {"minAvailable": 3, "maxUnavailable": None}},
        "3 of 2 replicas",
    ),
    ("budget-keeps-one", (), {"disruption": {"maxUnavailable": 2}}, "2 of 2 replicas"),
    ("budget-keeps-one", ("spot",), {"disruption": {"maxUnavailable": "51%"}}, "51% of 2 replicas"),
    (
        "budget-of-groups-is-a-number",
        ("multi-node",),
        {"disruption": {"maxUnavailable": "50%"}},
        "50% with 2 nodes",
    ),
    ("budget-says-one-thing", (), {"disruption": {"minAvailable": 1}}, "found 1 and 1"),
    ("budget-says-one-thing", (), {"disruption": {"maxUnavailable": None}}, "minAvailable"),
    ("rollout-keeps-serving", (), {"autoscaling": {"minReplicas": 1}}, "cold start of 300 s"),
    ("gpus-divide-among-nodes", ("multi-node",), {"nodesPerReplica": 3}, "3 nodes"),
    ("shm-for-tensor-parallel", ("tensor-parallel",), {"engine": {"shmGiB": 2}}, "expected 8"),
    ("shm-within-memory", (), {"engine": {"shmGiB": 6}}, "12 GiB"),
    ("t4-has-no-bfloat16", ("awq",), {"model": {"dtype": "bfloat16"}}, "half"),
    ("t4-has-no-bfloat16", (), {"placement": {"gpus": ["t4"]}}, "dtype auto"),
    ("queue-holds-the-batch", (), {"engine": {"maxNumQueuedReqs": 32}}, "a batch has 64"),
    ("extra-args-are-others", (), {"engine": {"extraArgs": ["--nnodes=2"]}}, '"--nnodes=2".*value'),
    ("vllm-has-weights", (), {"source": {"kind": "none"}}, "needs a source"),
    ("vllm-has-weights", ("dev-simulator",), {"source": {"kind": "s3"}}, "simulator"),
    ("tier-has-triggers", (), {"tier": "unheard"}, '"unheard".*triggers.yaml'),
    ("scaling-bounds", (), {"autoscaling": {"maxReplicas": 1}}, "at least 2 .* at most 1"),
    ("blind-holds-the-minimum", (), {"autoscaling": {"minReplicas": 3}}, "to 2 replicas"),
    (
        "scale-down-after-cold-start",
        (),
        {"startup": {"coldStartSeconds": 600, "budgetSeconds": 1200}},
        "waits 600 s .* takes 600 s",
    ),
]
# Rules about triggers.yaml itself, which no value can break; test_vllm_triggers.py breaks the file.
_OF_THE_FILE = {"lost-telemetry-is-an-error", "trigger-asks-for-its-tier"}


@pytest.mark.parametrize(
    ("rule", "layers", "change", "said"),
    _MISTAKES,
    ids=[f"{rule}-{number}" for number, (rule, *_) in enumerate(_MISTAKES)],
)
def test_mistake_is_refused_by_its_rule(
    rule: str, layers: tuple[str, ...], change: dict[str, Any], said: str
) -> None:
    """Who makes it reads which rule it breaks, the numbers, and what to change."""
    values = {key: value for key, value in change.items() if key != "release"}
    text = refusal("vllm", *layers, change=values, release=change.get("release"))
    assert f"rule {rule}: " in text
    assert re.search(said, text), text


def test_every_rule_has_its_mistake() -> None:
    """A rule that nothing breaks here may never have worked."""
    templates = CHARTS["vllm"] / "templates"
    text = "".join(path.read_text(encoding="utf-8") for path in templates.glob("*.tpl"))
    rules = set(re.findall(r'"rule" "([a-z0-9-]+)"', text)) | set(
        re.findall(r"rule ([a-z-]+):", text)
    )
    assert rules == {rule for rule, *_ in _MISTAKES} | _OF_THE_FILE


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"drain": {"preStopSecond": 15}}, "preStopSecond"),
        ({"drain": {"graceSeconds": "2m"}}, "graceSeconds"),
        ({"drain": {"preStopSeconds": -1}}, "preStopSeconds"),
        ({"image": {"tag": "latest"}}, "tag"),
        ({"model": {"dtype": "fp32"}}, "dtype"),
        ({"engine": {"gpuMemoryUtilization": 92}}, "gpuMemoryUtilization"),
        ({"engine": {"tensorParallelSize": 3}}, "tensorParallelSize"),
        ({"engine": {"extraArgs": ["-tp=4"]}}, "extraArgs"),
        ({"engine": {"extraArgs": ["-pp", "2"]}}, "extraArgs"),
        ({"engine": {"extraArgs": ["-O3"]}}, "extraArgs"),
        ({"engine": {"env": {"VLLM_API_KEY": "secret"}}}, "VLLM_API_KEY"),
        ({"placement": {"capacity": "SPOT"}}, "capacity"),
        ({"disruption": {"maxUnavailable": 0}}, "maxUnavailable"),
        ({"disruption": {"maxUnavailable": "0%"}}, "maxUnavailable"),
        ({"disruption": {"maxUnavailable": "100%"}}, "maxUnavailable"),
        ({"source": {"s3Uri": "https://bucket/models"}}, "s3Uri"),
        ({"source": {"volume": {"fsx": {"fileSystemId": "fs-0123456789abcdef0"}}}}, "fsx"),
        ({"spot": {"noticeSeconds": 300}}, "noticeSeconds"),
    ],
    ids=str,
)
def test_value_of_another_type_is_refused(change: dict[str, Any], where: str) -> None:
    """Units, ranges and names are the schema's: what it does not know is not ignored."""
    assert where in refusal("vllm", change=change)


@pytest.mark.parametrize(
    "flag",
    [
        "--shutdown-timeout=0",
        "--shutdown_timeout=0",
        "--shutdown-t=0",
        "--tensor_parallel-size=2",
        "--data-parallel-size=2",
        "--data_parallel_size_local=2",
        "--data-par=2",
        "--node-rank=1",
        "--headless",
        "--config=/tmp/more.yaml",
        "--model=/models/other",
        "--api_key=secret",
        "--uds=/tmp/socket",
        "--ssl-keyfile=/tmp/key",
    ],
)
def test_flag_that_a_rule_rests_on_is_refused(flag: str) -> None:
    """Underscores and abbreviations are the flag, too, for vLLM, and the last of a name counts."""
    text = refusal("vllm", change={"engine": {"extraArgs": [flag]}})
    assert "rule extra-args-are-others: " in text
    assert flag in text


def test_other_flags_are_passed_on() -> None:
    """Names that only resemble those of the chart are vLLM's own business."""
    flags = [
        "--max-num-batched-tokens=8192",
        "--model-impl=vllm",
        "--kv-cache-dtype=fp8",
        "--enable-prefix-caching",
        "--compilation-config.level=3",
    ]
    objects = render("vllm", change={"engine": {"extraArgs": flags}})
    ((_, template),) = pod_templates(objects)
    assert template["spec"]["containers"][0]["args"][-len(flags) :] == flags


@pytest.mark.parametrize("shape", ["single-gpu", "tensor-parallel", "multi-node", "awq", "spot"])
def test_production_goes_over_each_shape(shape: str) -> None:
    """An environment is a layer: it must not undo what the shape says."""
    assert render("vllm", shape, "prod")


def test_schema_knows_every_default() -> None:
    """A value that the schema leaves out would be typed by nobody."""
    schema = yaml.safe_load((CHARTS["vllm"] / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHARTS["vllm"] / "values.yaml").read_text(encoding="utf-8"))

    def unknown(found: Any, known: dict[str, Any], path: str) -> list[str]:
        if not isinstance(found, dict) or "properties" not in known:
            return []
        inner = known["properties"]
        here = [f"{path}.{key}" for key in inner.keys() ^ found.keys()]
        return here + [
            text
            for key in inner.keys() & found.keys()
            for text in unknown(found[key], inner[key], f"{path}.{key}")
        ]

    left = [text for text in unknown(values, schema, "") if ".volume.fsx." not in text]
    # Helm itself adds what charts share.
    assert left == [".global"]


def test_layers_are_those_that_the_documents_name() -> None:
    """Each shape and environment is found in docs/deploy.md."""
    page = (CHARTS["vllm"].parents[2] / "docs/deploy.md").read_text(encoding="utf-8")
    assert [name for name in value_files("vllm") if f"`{name}`" not in page] == []
