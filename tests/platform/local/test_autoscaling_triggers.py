"""triggers.yaml: what its queries answer, asked of Prometheus, and what its mistakes are told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from faultload.measure.metric_lint import lint, selectors_of
from faultload.measure.queries import Kind, Query
from faultload.spec.metrics import load_metrics
from inference_platform.local import config, programs
from inference_platform.local.autoscaling import spec
from inference_platform.local.errors import ConfigError, MissingError

METRICS = load_metrics(Path(__file__).parents[3] / "platform/observability/metrics.yaml")
SHIPPED = spec.load(spec.DEFAULT_PATH)
# What platform/local-autoscaling.yaml is scaled on.
SMALL = spec.load(Path(__file__).parents[3] / "platform/local-autoscaling-triggers.yaml")
QUERIES = [
    pytest.param(scaled.tier, trigger.metadata.query, id=f"{file}{scaled.name}-{trigger.name}")
    for file, found in (("", SHIPPED), ("small-", SMALL))
    for scaled in found
    for trigger in scaled.triggers
]


@pytest.mark.parametrize(("tier", "query"), QUERIES)
def test_series_labels_and_values_are_those_of_metrics_yaml(tier: str, query: str) -> None:
    """A dead name reads as an empty answer for ever: the commonest defect of autoscaling."""
    asked = Query(Path("triggers.yaml"), Kind.TRIGGER, tier, query, query)

    assert lint([asked], METRICS) == []
    for selector in selectors_of(asked):
        matchers = [str(matcher) for matcher in selector.matchers.matchers]
        assert f'tier="{tier}"' in matchers, f"{selector} of every tier"


@pytest.mark.parametrize("scaled", SHIPPED, ids=lambda scaled: scaled.name)
def test_lost_telemetry_is_an_error_with_a_way_out(scaled: spec.ScaledObject) -> None:
    """Nulls are not ignored, and the fallback never takes what is there."""
    assert all(trigger.metadata.ignore_null_values == "false" for trigger in scaled.triggers)
    assert scaled.fallback is not None
    assert scaled.fallback.behavior == "currentReplicasIfHigher"


def test_every_tier_of_the_local_platform_is_scaled() -> None:
    """A misspelt tier would never scale, silently."""
    local = config.load(config.DEFAULT_PATH)

    assert sorted(scaled.tier for scaled in SHIPPED) == sorted(local.tiers)
    for scaled in SHIPPED:
        replicas = local.tiers[scaled.tier].replicas
        assert scaled.min_replica_count <= replicas <= scaled.max_replica_count


def test_tiers_differ_in_nothing_but_their_name() -> None:
    """One text for all: what was thought through for one tier holds for the other."""
    texts = {
        scaled.model_dump_json()
        .replace(f'"{scaled.tier}"', '"T"')
        .replace(f'\\"{scaled.tier}\\"', '\\"T\\"')
        for scaled in SHIPPED
    }

    assert len(texts) == 1


def _router(tier: str, requests: str, replicas: int, inflight: int) -> dict[str, str]:
    """Return the router's series, every 10 s for 5 minutes."""
    series = {
        f'inference_router_requests_total{{tier="{tier}",code="503",outcome="no_replica"}}': (
            requests
        ),
        f'inference_router_requests_total{{tier="{tier}",code="200",outcome="ok"}}': "5x30",
        f'inference_router_requests_total{{tier="{tier}",code="400",outcome="client_error"}}': (
            "0+1x30"
        ),
    }
    for i in range(replicas):
        name = f'tier="{tier}",replica="{tier}-{i}"'
        series[f"inference_router_inflight{{{name}}}"] = f"{inflight}x30"
        series[f"inference_router_replica_healthy{{{name}}}"] = f"{int(i > 0)}x30"
    return series


def _engines(tier: str, replicas: int) -> dict[str, str]:
    """Return two engine cores a replica; the caches are 10 %, 20 %, … full."""
    return {
        f'vllm:{name}{{tier="{tier}",replica="{tier}-{i}",engine="{core}",model_name="m"}}': value
        for i in range(replicas)
        for core in (0, 1)
        for name, value in (
            ("num_requests_waiting", "3x30"),
            ("kv_cache_usage_perc", f"{(i + 1) / 10}x30"),
        )
    }


# What each trigger answers; None: nothing, which is a failed read.
SITUATIONS: dict[str, tuple[dict[str, str], tuple[float | None, float | None, float | None]]] = {
    "one replica, nobody asks": (_router("T", "0x30", 1, 0) | _engines("T", 1), (6, 0.1, 0)),
    "ten replicas, streams open": (_router("T", "0x30", 10, 2) | _engines("T", 10), (60, 1.0, 1)),
    "asleep, nobody asks": (_router("T", "0x30", 0, 0), (0, 0, 0)),
    "asleep, somebody was refused": (_router("T", "0x27 1 1 1", 0, 0), (0, 0, 1)),
    "replicas that do not answer": (_router("T", "0x30", 2, 0), (None, None, 0)),
    "no word from the router": (_engines("T", 2), (12, 0.2, None)),
    "no word from anybody": ({}, (None, None, None)),
    "no word from either, another tier works": (
        _router("other", "0+1x30", 2, 3) | _engines("other", 2),
        (None, None, None),
    ),
}


@pytest.fixture(scope="module")
def promtool() -> str:
    """Skip where Prometheus' own tool cannot be had."""
    try:
        return programs.find("promtool")
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("scaled", SHIPPED, ids=lambda scaled: scaled.name)
def test_queries_answer_with_one_number_or_with_none(
    scaled: spec.ScaledObject, promtool: str, tmp_path: Path
) -> None:
    """As Prometheus itself evaluates them, in every situation that must not be mistaken."""
    tests = [
        {
            "name": situation,
            "interval": "10s",
            "input_series": [
                {"series": name.replace('"T', f'"{scaled.tier}'), "values": values}
                for name, values in series.items()
            ],
            "promql_expr_test": [
                {
                    "expr": trigger.metadata.query,
                    "eval_time": "5m",
                    "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
                }
                for trigger, value in zip(scaled.triggers, values_expected, strict=True)
            ],
        }
        for situation, (series, values_expected) in SITUATIONS.items()
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))

    done = subprocess.run(
        [promtool, "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_field_is_documented() -> None:
    """A field without a sentence has no unit."""
    fields = {
        f"{model.__name__}.{name}": field.description
        for model in vars(spec).values()
        if isinstance(model, type) and issubclass(model, spec.Model)
        for name, field in model.model_fields.items()
        # The defaults of a direction are documented where both have them.
        if model not in {spec.ScaleUp, spec.ScaleDown}
    }

    assert len(fields) > 25
    assert not [name for name, description in fields.items() if not description]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pollingInterval: 10", "poolingInterval: 10", "scaledObjects.0.poolingInterval: no such"),
        ("pollingInterval: 10", "poolingInterval: 10", "did you mean 'pollingInterval'?"),
        ("      behavior: curr", "      behaviour: curr", "did you mean 'behavior'?"),
        ("periodSeconds: 60", "period: 60", "period: no such key; did you mean 'periodSeconds'"),
        (", periodSeconds: 60", "", "scaleUp.policies.0.periodSeconds: is missing"),
        ('threshold: "4"', "threshold: 4", "threshold: Input should be a valid string, found 4"),
        ('threshold: "4"', 'threshold: "four"', "expected a number in quotes, like '4' or '0.8'"),
        ('threshold: "4"', 'threshold: "0"', "threshold: expected 0.001 or more, found '0'"),
        ("type: prometheus", "type: cpu", "triggers.0.type: Input should be 'prometheus', found"),
        ("metricType: Value", "metricType: Utilization", "metricType: Input should be 'AverageVal"),
        ("minReplicaCount: 2", "minReplicaCount: 9", "0: minReplicaCount 9 is above maxReplicaCou"),
        ("minReplicaCount: 2", "idleReplicaCount: 0", "idleReplicaCount 0 needs a minReplicaCoun"),
        ("minReplicaCount: 2", "idleReplicaCount: 1", "idleReplicaCount: Input should be 0, found"),
        ("- name: reasoning", "- name: fast", "name fast is used more than once"),
        ("      name: reasoning", "      name: fast", "scaleTargetRef.name fast is used more than"),
        (
            "      name: reasoning",
            "      name: reason",
            "no such tier 'reason'; did you mean 'reas",
        ),
        ("periodSeconds: 300", "periodSeconds: 3600", "periodSeconds: Input should be less than"),
        ("scaledObjects:", "scaledObjects: [", "cannot be read as YAML"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The file, the key, what was found there and what was meant."""
    text = spec.DEFAULT_PATH.read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "triggers.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(ConfigError) as refused:
        spec.load(file, tiers=["fast", "reasoning"])

    assert str(refused.value).startswith(f"{file}: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_left_out_has_the_defaults() -> None:
    """Docs of HPA, default behavior; of KEDA, ScaledObject specification."""
    scaled = spec.ScaledObject.model_validate(
        {
            "name": "fast",
            "scaleTargetRef": {"name": "fast"},
            "advanced": {
                "horizontalPodAutoscalerConfig": {
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}
                }
            },
            "triggers": [{"type": "prometheus", "metadata": {"query": "q", "threshold": "1"}}],
        }
    )

    assert (scaled.polling_interval, scaled.cooldown_period) == (30, 300)
    assert (scaled.min_replica_count, scaled.max_replica_count) == (0, 100)
    assert scaled.triggers[0].metric_type == "AverageValue"
    assert scaled.triggers[0].metadata.ignore_null_values == "true"
    up, down = scaled.behavior.scale_up, scaled.behavior.scale_down
    assert (up.stabilization_window_seconds, down.stabilization_window_seconds) == (0, 60)
    limits = [(p.type, p.value, p.period_seconds) for p in (*up.policies, *down.policies)]
    assert limits == [("Pods", 4, 15), ("Percent", 100, 15), ("Percent", 100, 15)]
