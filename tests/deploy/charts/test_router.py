"""What the router chart makes: how a router finds engines, ends, scales, and who may reach it."""

from __future__ import annotations

from typing import Any

import pytest
from charts import Object, only, pod_templates, render, selects
from kube_schemas import problems
from terraform_code import PLATFORM, parse

from inference_platform.router import __main__ as command
from inference_platform.router import discovery

# As an environment says it: Terraform's outputs target_group_arn and client_cidrs.
_GROUP = (
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:"
    "targetgroup/inference-prod-router/0123456789abcdef"
)
_CIDRS = ["10.40.224.0/24", "10.40.225.0/24", "10.40.226.0/24"]
_BOUND = {"targetGroupBinding": {"arn": _GROUP}, "network": {"clientCidrs": _CIDRS}}
_INGRESS = {"ingress": {"enabled": True}, "network": {"clientCidrs": _CIDRS}}

_LAYERS = [(), ("dev",), ("prod",), ("spot",)]
each_layer = pytest.mark.parametrize("layers", _LAYERS, ids=["-".join(one) for one in _LAYERS])


def _pod(*layers: str, **more: Any) -> Object:
    ((_, template),) = pod_templates(render("router", *layers, **more))
    return template["spec"]


def _router(*layers: str, **more: Any) -> Object:
    (router,) = _pod(*layers, **more)["containers"]
    return router


@each_layer
def test_arguments_are_ones_it_knows(layers: tuple[str, ...]) -> None:
    """A flag that the program has dropped would end every router at its start."""
    options = command._parser().parse_args(_router(*layers)["args"])
    assert (options.host, options.port, options.tiers) == ("0.0.0.0", 8080, "fast,reasoning")
    (sidecar,) = _pod(*layers)["initContainers"]
    found = discovery._parser().parse_args(sidecar["args"])
    assert found.into == options.endpoints
    assert found.namespace == "inference"


@each_layer
def test_answers_end_before_sigkill(layers: tuple[str, ...]) -> None:
    """preStop, then the drain, then the grace period is over."""
    options = command._parser().parse_args(_router(*layers)["args"])
    slept = _router(*layers)["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = _pod(*layers)["terminationGracePeriodSeconds"]
    assert options.answer_timeout_s <= options.drain_s
    waits = (options.first_byte_timeout_s, options.idle_timeout_s)
    assert max(waits) <= options.answer_timeout_s
    assert slept > 0
    assert slept + options.drain_s < grace


def _seconds(flag: str, chart: str, *layers: str) -> int:
    """Return what a chart's first pod is told by a flag."""
    ((_, template), *_) = pod_templates(render(chart, *layers))
    (own,) = template["spec"]["containers"]
    (said,) = (arg for arg in own["args"] if arg.startswith(f"{flag}="))
    return int(said.partition("=")[2])


def test_spot_engines_want_a_router_that_knows_it() -> None:
    """It has one bound for all its tiers, so one tier on spot machines shortens it for all."""
    drained_s = _seconds("--shutdown-timeout", "vllm", "single-gpu", "spot")
    assert _seconds("--answer-timeout-s", "router", "spot") <= drained_s
    assert drained_s < _seconds("--answer-timeout-s", "router")


def test_one_empty_tier_does_not_take_the_others_along() -> None:
    """/health is 503 as soon as one tier has no replica; as readiness it would end all routers."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert _router()[name]["httpGet"]["path"] == "/v1/models"


def test_router_starts_with_a_list() -> None:
    """Discovery is a sidecar: ready before the router starts, and there until it has drained."""
    (sidecar,) = _pod()["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["exec"]["command"][-1] == "/run/router/endpoints.json"


def test_only_discovery_signs_in() -> None:
    """What speaks to the world has no token of the API, and the token may list slices alone."""
    objects = render("router")
    assert "api-token" not in {one["name"] for one in _router()["volumeMounts"]}
    assert only(objects, "Role")["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}
    ]


def test_selector_finds_the_services_of_engines() -> None:
    """The vllm chart names what this one looks for; labels of a Service go on to its slices."""
    (sidecar,) = _pod()["initContainers"]
    key, _, value = discovery._parser().parse_args(sidecar["args"]).selector.partition("=")
    labels = only(render("vllm"), "Service")["metadata"]["labels"]
    assert selects({"matchLabels": {key: value}}, labels)
    assert {discovery.TIER_LABEL, discovery.MODEL_LABEL} <= labels.keys()


def test_policies_of_both_charts_meet() -> None:
    """Chat to router, router to engine: what one side lets out the other lets in."""
    pairs = [("router", "vllm", 8000), ("router", "cache", 6379), ("chat", "router", 8080)]
    for one, other, port in pairs:
        out = only(render(one), "NetworkPolicy")["spec"]["egress"]
        ((_, pod), *_) = pod_templates(render(other))
        assert any(
            {"protocol": "TCP", "port": port} in rule.get("ports", [])
            and any(
                selects(peer["podSelector"], pod["metadata"]["labels"])
                for peer in rule["to"]
                if "podSelector" in peer
            )
            for rule in out
        )
        into = only(render(other), "NetworkPolicy")["spec"]["ingress"]
        ((_, mine),) = pod_templates(render(one))
        assert any(
            selects(peer["podSelector"], mine["metadata"]["labels"])
            for rule in into
            for peer in rule["from"]
            if "podSelector" in peer
        )


def test_password_comes_from_a_secret() -> None:
    """The URL is put together by the kubelet; no object holds the password."""
    names = [one["name"] for one in _router()["env"]]
    env = {one["name"]: one for one in _router()["env"]}
    assert env["REDIS_PASSWORD"]["valueFrom"] == {
        "secretKeyRef": {"name": "cache", "key": "password"}
    }
    url = env[command._REDIS_VARIABLE]["value"]
    assert url == "redis://:$(REDIS_PASSWORD)@cache:6379/0"
    assert names.index("REDIS_PASSWORD") < names.index(command._REDIS_VARIABLE)
    without = _router(change={"redis": {"host": ""}})["env"]
    assert [one["name"] for one in without] == ["POD_NAME"]


def test_a_successor_serves_before_one_goes() -> None:
    """Nothing is scarce here, so a rollout need not cost a router."""
    strategy = only(render("router"), "Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_scaling_looks_at_the_router_alone() -> None:
    """The idle sidecar would halve a pod's average; routers that drain go one at a time."""
    spec = only(render("router"), "HorizontalPodAutoscaler")["spec"]
    (metric,) = spec["metrics"]
    assert metric["containerResource"]["container"] == _router()["name"]
    (policy,) = spec["behavior"]["scaleDown"]["policies"]
    assert (policy["type"], policy["value"]) == ("Pods", 1)
    assert "replicas" not in only(render("router"), "Deployment")["spec"]


@each_layer
def test_routers_spread_over_zones_and_nodes(layers: tuple[str, ...]) -> None:
    """Losing either leaves others."""
    spread = _pod(*layers)["topologySpreadConstraints"]
    assert {one["topologyKey"] for one in spread} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }


def test_ingress_shows_the_api_alone() -> None:
    """Metrics and health are for the inside; TLS ends at the load balancer."""
    ingress = only(render("router", "prod", change=_INGRESS), "Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/v1"]
    notes = ingress["metadata"]["annotations"]
    assert notes["alb.ingress.kubernetes.io/scheme"] == "internal"
    assert notes["alb.ingress.kubernetes.io/listen-ports"] == '[{"HTTPS": 443}]'
    attributes = notes["alb.ingress.kubernetes.io/target-group-attributes"]
    assert "deregistration_delay.timeout_seconds=110" in attributes
    assert problems(ingress, "1.35") == []


@each_layer
def test_no_layer_makes_a_second_load_balancer(layers: tuple[str, ...]) -> None:
    """Terraform's controller may not make one, so an Ingress would wait for ever."""
    kinds = {one["kind"] for one in render("router", *layers)}
    assert kinds.isdisjoint({"Ingress", "TargetGroupBinding"})


def test_pods_are_bound_to_a_group_that_is_there() -> None:
    """Addresses of pods in Terraform's group; who may reach them its security groups say."""
    objects = render("router", "prod", change=_BOUND)
    binding = only(objects, "TargetGroupBinding")
    service = only(objects, "Service")
    assert binding["spec"] == {
        "targetGroupARN": _GROUP,
        "targetType": "ip",
        "serviceRef": {
            "name": service["metadata"]["name"],
            "port": service["spec"]["ports"][0]["name"],
        },
    }
    assert binding["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert problems(binding, "1.35") == []


def test_policy_lets_the_load_balancer_in() -> None:
    """It asks from its own subnets, and policies hold for whoever comes from outside, too."""
    policy = only(render("router", "prod", change=_BOUND), "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]
    blocks = [peer["ipBlock"]["cidr"] for peer in rule["from"] if "ipBlock" in peer]
    assert blocks == _CIDRS


@each_layer
def test_terraforms_load_balancer_fits(layers: tuple[str, ...]) -> None:
    """It asks what probes ask, waits as long as routers do, and shows the world the API alone."""
    module = {one.address: one.body for one in parse(PLATFORM / "modules/ingress").resources}
    options = command._parser().parse_args(_router(*layers)["args"])
    group, balancer = module["aws_lb_target_group.router"], module["aws_lb.this"]
    (health,) = group["health_check"]
    assert health["path"] == _router(*layers)["readinessProbe"]["httpGet"]["path"]
    slept = _router(*layers)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert group["deregistration_delay"] >= slept + options.drain_s
    # The longest silence: of a reply that is not streamed.
    assert balancer["idle_timeout"] > options.answer_timeout_s

    (otherwise,) = module["aws_lb_listener.https"]["default_action"]
    assert otherwise["type"] == "fixed-response"
    assert otherwise["fixed_response"][0]["status_code"] == "404"
    rule = module["aws_lb_listener_rule.api"]
    assert rule["condition"][0]["path_pattern"][0]["values"] == ["/v1/*"]
    assert rule["action"][0]["target_group_arn"] == "${aws_lb_target_group.router.arn}"
