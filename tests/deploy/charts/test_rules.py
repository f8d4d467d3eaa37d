"""Mistakes that charts refuse while they are rendered; those of vllm: test_vllm_rules.py."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from charts import CHARTS, refusal
from platform_tools import ROOT

_GROUP = "elasticloadbalancing:us-east-1:123456789012:targetgroup"
_ALB = "alb.ingress.kubernetes.io"


def _page(**ingress: Any) -> dict[str, Any]:
    """Return a chat that a load balancer may reach."""
    return {
        "ingress": {"enabled": True, **ingress},
        "network": {"clientCidrs": ["10.40.0.0/16"]},
    }


def _open_page(**auth: str) -> dict[str, Any]:
    notes = {f"{_ALB}/auth-{name.replace('_', '-')}": value for name, value in auth.items()}
    return _page(scheme="internet-facing", annotations=notes)


# Chart, rule, layers, the mistake, and what the refusal must say besides.
_MISTAKES: list[tuple[str, str, tuple[str, ...], dict[str, Any], str]] = [
    (
        "router",
        "prestop-covers-endpoint-removal",
        (),
        {"drain": {"preStopSeconds": 0}},
        "sleeps 0 s .* for 15 s",
    ),
    (
        "router",
        "drain-covers-longest-answer",
        (),
        {"timeouts": {"answerSeconds": 600}},
        "600 s .* 90 s",
    ),
    ("router", "answer-covers-waits", (), {"timeouts": {"idleSeconds": 91}}, "91 s .* 90 s"),
    ("router", "answer-covers-waits", (), {"timeouts": {"answerSeconds": 50}}, "60 s .* 50 s"),
    ("router", "drain-fits-grace", (), {"drain": {"graceSeconds": 115}}, "= 115 s, expected less"),
    ("router", "budget-keeps-one", (), {"disruption": {"maxUnavailable": 2}}, "2 of 2"),
    ("router", "scaling-bounds", (), {"autoscaling": {"maxReplicas": 1}}, "at least 2"),
    (
        "router",
        "scale-down-after-drain",
        (),
        {"autoscaling": {"scaleDownWindowSeconds": 60}},
        "60 s .* 120 s",
    ),
    (
        "router",
        "balancer-outlasts-silence",
        (),
        {"ingress": {"enabled": True, "idleTimeoutSeconds": 60}},
        "60 s .* 90 s",
    ),
    ("router", "balancer-may-enter", (), {"ingress": {"enabled": True}}, "clientCidrs"),
    (
        "router",
        "balancer-may-enter",
        ("prod",),
        {"targetGroupBinding": {"arn": f"arn:aws:{_GROUP}/inference-prod-router/0123456789abcdef"}},
        "targetGroupBinding.arn.* network.clientCidrs",
    ),
    (
        "router",
        "probe-timeout-within-period",
        (),
        {"probes": {"liveness": {"timeoutSeconds": 11}}},
        "11 s every 10 s",
    ),
    (
        "router",
        "liveness-after-readiness",
        (),
        {"probes": {"liveness": {"failures": 1}}},
        "10 s .* 10 s",
    ),
    (
        "chat",
        "prestop-covers-endpoint-removal",
        (),
        {"drain": {"preStopSeconds": 5}},
        "sleeps 5 s .* for 15 s",
    ),
    (
        "chat",
        "drain-covers-longest-answer",
        (),
        {"timeouts": {"answerSeconds": 600}},
        "600 s .* 95 s",
    ),
    ("chat", "answer-covers-waits", (), {"timeouts": {"idleSeconds": 96}}, "96 s .* 95 s"),
    ("chat", "drain-fits-grace", (), {"drain": {"graceSeconds": 120}}, "= 120 s, expected less"),
    ("chat", "budget-keeps-one", (), {"disruption": {"maxUnavailable": 2}}, "2 of 2"),
    ("chat", "balancer-outlasts-silence", (), _page(idleTimeoutSeconds=60), "60 s .* 65 s"),
    ("chat", "balancer-may-enter", ("prod",), {"ingress": {"enabled": True}}, "clientCidrs"),
    (
        "chat",
        "annotation-is-said-once",
        ("prod",),
        _page(annotations={f"{_ALB}/scheme": "internet-facing"}),
        f"{_ALB}/scheme, which the chart sets",
    ),
    ("chat", "strangers-sign-in", ("prod",), _open_page(), 'auth-type .* found "" and ""'),
    ("chat", "strangers-sign-in", ("prod",), _open_page(type="none"), 'found "none" and ""'),
    (
        "chat",
        "strangers-sign-in",
        ("prod",),
        _open_page(type="oidc", on_unauthenticated_request="allow"),
        'found "oidc" and "allow"',
    ),
    (
        "chat",
        "strangers-sign-in",
        ("prod",),
        _page(className="nginx"),
        "className is nginx.* set ingress.keepsStrangersOut",
    ),
    (
        "chat",
        "probe-timeout-within-period",
        (),
        {"probes": {"startup": {"timeoutSeconds": 3}}},
        "3 s every 2 s",
    ),
    (
        "chat",
        "liveness-after-readiness",
        (),
        {"probes": {"liveness": {"failures": 1}}},
        "10 s .* 10 s",
    ),
    ("cache", "keys-fit-the-limit", (), {"memory": {"maxMiB": 400}}, "400 MiB .* 450 MiB"),
    (
        "cache",
        "not-open-to-all",
        (),
        {"passwordSecret": {"name": ""}, "network": {"enabled": False}},
        "network.enabled",
    ),
    ("faultload", "no-standing-consent", (), {"target": {"production": True}}, "production"),
    (
        "faultload",
        "breaks-others-only",
        (),
        {"target": {"kubernetes": {"namespaces": ["inference", "faultload"]}}},
        "namespace faultload",
    ),
    (
        "faultload",
        "deadline-covers-the-plan",
        (),
        {"gameDay": {"deadlineSeconds": 1199}},
        "1 steps of 1080 s.* are 1200 s; after 1199 s",
    ),
    ("faultload", "somebody-sweeps", ("staging",), {"sweeper": {"enabled": False}}, "node"),
    ("faultload", "load-is-said-once", (), {"target": {"load": {"workers": 2}}}, "load.machines"),
    ("faultload", "key-has-a-secret", (), {"load": {"apiKeyEnv": "API_KEY"}}, "API_KEY"),
    ("faultload", "key-is-said", (), {"load": {"apiKeyEnv": None}}, "load.apiKeyEnv"),
    (
        "faultload",
        "image-has-a-registry",
        (),
        {"image": {"repository": "faultload/faultload"}},
        '"faultload/faultload"; expected a registry',
    ),
    (
        "observability",
        "retention-covers-the-budget",
        (),
        {"prometheus": {"retentionDays": 30}},
        "30 days .* back 30",
    ),
    (
        "observability",
        "remote-write-is-signed",
        (),
        {"prometheus": {"remoteWrite": {"url": "https://example.com/write"}}},
        'found "https://example.com/write" and ""',
    ),
    (
        "observability",
        "cluster-has-a-name",
        (),
        {"prometheus": {"externalLabels": {"cluster": ""}}},
        "externalLabels.cluster",
    ),
]
# Rules that no value can break: about files, which test_observability.py takes away, and about the
# release's name (below).
_WITHOUT_VALUES = {"observability": {"there-are-rules"}, "chat": {"release-is-no-tier"}}
_CHARTS = [name for name in CHARTS if name != "vllm"]


@pytest.mark.parametrize(
    ("chart", "rule", "layers", "change", "said"),
    _MISTAKES,
    ids=[f"{chart}-{rule}" for chart, rule, *_ in _MISTAKES],
)
def test_mistake_is_refused_by_its_rule(
    chart: str, rule: str, layers: tuple[str, ...], change: dict[str, Any], said: str
) -> None:
    """Who makes it reads which rule it breaks, the numbers, and what to change."""
    text = refusal(chart, *layers, change=change)
    assert f"{chart}: rule {rule}: " in text
    assert re.search(said, text), text


@pytest.mark.parametrize("name", ["chat-page", "fast", "reasoning"])
def test_the_page_is_not_called_as_engines_are(name: str) -> None:
    """Alerts about tiers go by the name of a Deployment, and would page for the page."""
    taken = {
        pattern
        for path in (ROOT / "platform/observability/rules").glob("*.yaml")
        for pattern in re.findall(r'deployment=~"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert all(re.fullmatch(pattern, name) for pattern in taken), taken
    text = refusal("chat", change={}, release=name)
    assert f"chat: rule release-is-no-tier: the release is called {name}" in text
    rules = (CHARTS["chat"] / "templates/_rules.tpl").read_text(encoding="utf-8")
    assert taken == set(re.findall(r'regexMatch "\^\((.+)\)\$" .Release.Name', rules))


@pytest.mark.parametrize("chart", _CHARTS)
def test_every_rule_has_its_mistake(chart: str) -> None:
    """A rule that nothing breaks here may never have worked."""
    text = "".join(
        path.read_text(encoding="utf-8") for path in (CHARTS[chart] / "templates").glob("*.tpl")
    )
    rules = set(re.findall(r'"rule" "([a-z0-9-]+)"', text))
    broken = {rule for name, rule, *_ in _MISTAKES if name == chart}
    assert rules == broken | _WITHOUT_VALUES.get(chart, set())


@pytest.mark.parametrize("chart", _CHARTS)
def test_schema_knows_every_default(chart: str) -> None:
    """A value that the schema leaves out is typed by nobody; one too many has no default."""
    schema = json.loads((CHARTS[chart] / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHARTS[chart] / "values.yaml").read_text(encoding="utf-8"))

    def unknown(found: Any, known: dict[str, Any], path: str) -> list[str]:
        if not isinstance(found, dict) or "properties" not in known:
            return []
        if known["additionalProperties"]:
            # A document that the program reads, which names each mistake in it.
            assert "faultload itself checks each key" in known["description"], path
            return []
        inner = known["properties"]
        here = [f"{path}.{key}" for key in inner.keys() ^ found.keys()]
        return here + [
            text
            for key in inner.keys() & found.keys()
            for text in unknown(found[key], inner[key], f"{path}.{key}")
        ]

    # Helm itself adds what charts share.
    assert unknown(values, schema, "") == [".global"]
