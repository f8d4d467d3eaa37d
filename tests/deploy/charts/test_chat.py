"""What the chat chart makes: what a chat is told, how it ends, who reaches it, where the key is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from charts import Object, only, pod_templates, render, selects
from kube_schemas import problems

from inference_platform.chat import __main__ as command
from inference_platform.router import __main__ as router_command

_LAYERS = [(), ("dev",), ("prod",)]
# A cluster with a load balancer of its own for the page.
_DOOR = {"ingress": {"enabled": True}, "network": {"clientCidrs": ["10.40.0.0/16"]}}
_AUTH = "alb.ingress.kubernetes.io/auth-type"
each_layer = pytest.mark.parametrize("layers", _LAYERS, ids=["-".join(one) for one in _LAYERS])


def _pod(*layers: str, chart: str = "chat", **more: Any) -> Object:
    ((_, template),) = pod_templates(render(chart, *layers, **more))
    return template["spec"]


def _chat(*layers: str, **more: Any) -> Object:
    (chat,) = _pod(*layers, **more)["containers"]
    return chat


@each_layer
def test_arguments_are_ones_it_knows(layers: tuple[str, ...]) -> None:
    """A flag that the program has dropped would end every chat at its start."""
    options = command._parser().parse_args(_chat(*layers)["args"])
    assert (options.host, options.router) == ("0.0.0.0", "http://router:8080")
    (port,) = _chat(*layers)["ports"]
    assert port["containerPort"] == options.port
    assert not options.secure_cookie  # kubectl's own address has no TLS
    behind = command._parser().parse_args(_chat(*layers, change=_DOOR)["args"])
    assert behind.secure_cookie


@each_layer
def test_answers_end_before_sigkill(layers: tuple[str, ...]) -> None:
    """preStop, then the drain, then the grace period is over."""
    options = command._parser().parse_args(_chat(*layers)["args"])
    slept = _chat(*layers)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert slept > 0
    assert options.answer_timeout_s <= options.drain_s
    assert slept + options.drain_s < _pod(*layers)["terminationGracePeriodSeconds"]


@each_layer
def test_users_read_the_reason_of_the_router(layers: tuple[str, ...]) -> None:
    """The chat waits longer than the router, which then has said what is wrong."""
    mine = command._parser().parse_args(_chat(*layers)["args"])
    (router,) = _pod(*layers, chart="router")["containers"]
    its = router_command._parser().parse_args(router["args"])
    assert mine.first_byte_timeout_s > its.first_byte_timeout_s + its.no_replica_wait_s
    assert mine.idle_timeout_s > its.idle_timeout_s
    assert mine.answer_timeout_s > its.answer_timeout_s


def test_it_asks_where_the_router_is() -> None:
    """Its Service, at its port, in the same namespace."""
    service = only(render("router"), "Service")
    options = command._parser().parse_args(_chat()["args"])
    (port,) = service["spec"]["ports"]
    assert options.router == f"http://{service['metadata']['name']}:{port['port']}"
    assert (
        service["metadata"]["namespace"] == only(render("chat"), "Service")["metadata"]["namespace"]
    )


def test_key_is_a_file_of_a_secret() -> None:
    """The one that engines check; in no argument, variable or object, and nowhere by default."""
    options = command._parser().parse_args(_chat("prod")["args"])
    (volume,) = _pod("prod")["volumes"]
    (mount,) = _chat("prod")["volumeMounts"]
    (item,) = volume["secret"]["items"]
    assert str(options.api_key_file) == f"{mount['mountPath']}/{item['path']}"
    ((_, engine),) = pod_templates(render("vllm", "prod"))
    env = {one["name"]: one for one in engine["spec"]["containers"][0]["env"]}
    checked = env["VLLM_API_KEY"]["valueFrom"]["secretKeyRef"]
    assert (volume["secret"]["secretName"], item["key"]) == (checked["name"], checked["key"])
    assert [one["name"] for one in _chat("prod")["env"]] == ["POD_NAME"]
    assert command._parser().parse_args(_chat()["args"]).api_key_file is None
    assert "volumes" not in _pod()


@each_layer
def test_a_router_that_is_gone_takes_no_chat_along(layers: tuple[str, ...]) -> None:
    """/health is the chat's own; the page is there to say what is wrong."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert _chat(*layers)[name]["httpGet"]["path"] == "/health"


@each_layer
def test_no_layer_has_a_door(layers: tuple[str, ...]) -> None:
    """The page signs nobody in, and Terraform's controller may make no load balancer."""
    objects = render("chat", *layers)
    assert {one["kind"] for one in objects}.isdisjoint({"Ingress", "TargetGroupBinding"})
    (into,) = only(objects, "NetworkPolicy")["spec"]["ingress"]
    assert len(into["from"]) == 1  # Prometheus


def test_a_door_shows_the_page_alone() -> None:
    """Metrics and health are for the inside; TLS ends at the load balancer."""
    ingress = only(render("chat", "prod", change=_DOOR), "Ingress")
    (rule,) = ingress["spec"]["rules"]
    paths = {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}
    assert ("/", "Exact") in paths
    assert {path for path, kind in paths if kind == "Prefix"} == {"/assets", "/api"}
    assert not [path for path, _ in paths if path in {"/metrics", "/health"}]
    notes = ingress["metadata"]["annotations"]
    assert notes["alb.ingress.kubernetes.io/scheme"] == "internal"
    assert json.loads(notes["alb.ingress.kubernetes.io/listen-ports"]) == [{"HTTPS": 443}]
    chat = _chat("prod", change=_DOOR)
    leaving_s = chat["lifecycle"]["preStop"]["sleep"]["seconds"] + int(
        command._parser().parse_args(chat["args"]).drain_s
    )
    attributes = notes["alb.ingress.kubernetes.io/target-group-attributes"]
    assert f"deregistration_delay.timeout_seconds={leaving_s}," in attributes
    assert problems(ingress, "1.35") == []


@pytest.mark.parametrize("kind", ["cognito", "oidc"])
def test_strangers_may_come_where_they_sign_in(kind: str) -> None:
    """The rule refuses an open page, and not one behind the load balancer's own sign-in."""
    ingress = {"scheme": "internet-facing", "annotations": {_AUTH: kind}}
    change = {**_DOOR, "ingress": {"enabled": True, **ingress}}
    notes = only(render("chat", "prod", change=change), "Ingress")["metadata"]["annotations"]
    assert notes["alb.ingress.kubernetes.io/scheme"] == "internet-facing"
    assert notes[_AUTH] == kind


def test_it_reaches_the_router_and_names_alone() -> None:
    """Whoever breaks into the page's backend finds one door, which asks for no more than any."""
    policy = only(render("chat"), "NetworkPolicy")["spec"]
    names, door = policy["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    (peer,) = door["to"]
    assert door["ports"] == [{"protocol": "TCP", "port": 8080}]
    ((_, router),) = pod_templates(render("router"))
    assert selects(peer["podSelector"], router["metadata"]["labels"])
    (into,) = policy["ingress"]
    assert len(into["from"]) == 1  # Prometheus


def test_an_ingress_controller_is_let_in_by_its_namespace() -> None:
    """Where the load balancer is a pod, and somebody says that it lets in who may ask."""
    change = {
        "ingress": {"enabled": True, "className": "nginx", "keepsStrangersOut": True},
        "network": {"clientNamespaces": ["ingress-nginx"]},
    }
    objects = render("chat", change=change)
    (into,) = only(objects, "NetworkPolicy")["spec"]["ingress"]
    labels = {"kubernetes.io/metadata.name": "ingress-nginx"}
    assert {"namespaceSelector": {"matchLabels": labels}} in into["from"]
    assert (
        "annotations" not in only(objects, "Ingress")["metadata"]
        or not only(objects, "Ingress")["metadata"]["annotations"]
    )


def test_a_successor_serves_before_one_goes() -> None:
    """Nothing is scarce here, so a rollout need not cost a replica."""
    strategy = only(render("chat"), "Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
