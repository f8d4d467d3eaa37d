"""No order to the local platform does harm that a lease would not put back, unless it says why."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from inference_platform.engine_sim import chaos
from inference_platform.local import addresses, orders
from inference_platform.local.cluster import Cluster
from inference_platform.local.config import DEFAULT_PATH, load
from inference_platform.local.control import Control
from inference_platform.local.layout import Layout
from inference_platform.local.leases import Effect

PUT_BACK, PUTS_BACK = "is put back", "puts back"
RESTARTED, REPLACED, LAUNCHED, STANDS, ASKS = (
    "started again",
    "makes another",
    "launches another",
    "no notice back",
    "question",
)
UID = {"uid": "u-1"}


def engine(**body: float) -> dict[str, Any]:
    """Return an order to an engine's port for faults."""
    return UID | {"body": body}


# Route → variant → the order, and what is to become of it when its lease is over.
ORDERS: dict[str, dict[str, tuple[dict[str, Any], str]]] = {
    "/v1/replicas/fast-0/signal": {
        "KILL": (UID | {"signal": "KILL"}, RESTARTED),
        "TERM": (UID | {"signal": "TERM"}, RESTARTED),
        "STOP": (UID | {"signal": "STOP"}, PUT_BACK),
        "CONT": (UID | {"signal": "CONT"}, PUTS_BACK),
    },
    "/v1/replicas/fast-0/delete": {"": (UID, REPLACED)},
    "/v1/replicas/fast-0/evict": {"": (UID, REPLACED)},
    "/v1/replicas/fast-0/engine/{}": {
        "die": (UID, RESTARTED),
        "oom": (UID, RESTARTED),
        "hang": (engine(seconds=60), PUT_BACK),
        "slow": (engine(factor=3), PUT_BACK),
        "memory": (engine(gib=4), PUT_BACK),
        "xid": (engine(xid=79), PUT_BACK),
        "state": (UID, ASKS),
    },
    "/v1/components/redis/signal": {
        "KILL": ({"signal": "KILL"}, RESTARTED),
        "TERM": ({"signal": "TERM"}, RESTARTED),
        "STOP": ({"signal": "STOP"}, PUT_BACK),
        "CONT": ({"signal": "CONT"}, PUTS_BACK),
    },
    "/v1/components/redis/start": {"": ({}, PUTS_BACK)},
    "/v1/tiers/fast/scale": {"": ({"replicas": 0}, PUT_BACK)},
    "/v1/tiers/fast/release": {"": ({"pullable": False}, PUT_BACK)},
    "/v1/tiers/fast/rollback": {"": ({}, PUT_BACK)},
    "/v1/nodes/node-a/{}": {
        "cordon": ({}, PUT_BACK),
        "uncordon": ({}, PUTS_BACK),
        "terminate": ({}, LAUNCHED),
        "rebalance": ({}, STANDS),
        "interrupt": ({}, STANDS),
        "reset-gpus": ({}, PUTS_BACK),
    },
    "/v1/zones/local-a/{}": {"fail": ({}, PUT_BACK), "restore": ({}, PUTS_BACK)},
    "/v1/links/redis": {
        "disturbed": ({"partitioned": True}, PUT_BACK),
        "undisturbed": ({}, PUTS_BACK),
    },
    "/v1/models/chat-fast": {
        "empty": ({"change": "empty"}, PUT_BACK),
        "corrupt": ({"change": "corrupt"}, PUT_BACK),
        "truncate": ({"change": "truncate"}, PUT_BACK),
        "restore": ({"change": "restore"}, PUTS_BACK),
    },
    "/v1/capacity": {
        "withheld": ({"available": False}, PUT_BACK),
        "offered": ({"available": True}, PUTS_BACK),
    },
}
CASES = [(path, name) for path, variants in ORDERS.items() for name in variants]


@pytest.fixture(scope="module")
def control() -> Control:
    """Return the control API of a platform that is planned and never started."""
    binaries = {"prometheus": "prometheus", "redis-server": "redis-server"}
    network = addresses.choose("127.0.0.1", addresses.can_bind)
    layout = Layout(Path("nowhere"), binaries, -1)
    return Control(Cluster(load(DEFAULT_PATH), network, layout), "p")


def ask(control: Control, path: str, body: Mapping[str, Any]) -> Any:
    """Give an order; return the answer."""
    client = TestClient(control.app("token"), headers={"authorization": "Bearer token"})
    return client.post(path, json=body)


@pytest.mark.parametrize(("path", "name"), CASES)
def test_every_order_says_what_its_lease_puts_back(
    control: Control, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    """What it changes, that it only ever puts something back, or why there is nothing to."""
    seen: list[Effect] = []

    async def during(
        _lease: str | None, effect: Effect, _act: Callable[[], Awaitable[Any]]
    ) -> dict[str, Any]:
        seen.append(effect)
        return {}

    monkeypatch.setattr(control._leases, "during", during)
    body, expected = ORDERS[path][name]

    assert ask(control, path.format(name), body).status_code == 200

    (effect,) = seen
    found = effect.why or (PUTS_BACK if effect.heals else PUT_BACK)
    assert expected in found


def test_a_hold_is_put_back(control: Control) -> None:
    """Whatever signal comes with it: the component is let start again."""
    for name in get_args(orders.ComponentOrder.model_fields["signal"].annotation):
        effect = control._effects.signal_component(
            {"name": "redis"}, orders.ComponentOrder(signal=name, hold=True)
        )
        assert "hold" in [subject.aspect for subject in effect.subjects]
        assert not effect.heals


def test_no_order_is_missing_above(control: Control) -> None:
    """A route, signal, act or command that is new must be thought about here first."""
    for route in control.order_routes():
        assert [path for path in ORDERS if route.path_regex.match(path)], f"{route.path} is new"

    commands = re.findall(r"^    (?:POST|GET ) +/(\w+)\b(?!/)", chaos.__doc__ or "", re.MULTILINE)
    assert set(commands) == ORDERS["/v1/replicas/fast-0/engine/{}"].keys()
    for path in ("/v1/nodes/node-a/{}", "/v1/zones/local-a/{}"):
        refused = ask(control, path.format("no-such-act"), {})
        assert refused.status_code == 404
        acts = refused.json()["error"].partition("there are ")[2].split(", ")
        assert set(acts) == ORDERS[path].keys()
    for order, path in (
        (orders.SignalOrder, "replicas/fast-0"),
        (orders.ComponentOrder, "components/redis"),
    ):
        signals = get_args(order.model_fields["signal"].annotation)
        assert set(signals) == ORDERS[f"/v1/{path}/signal"].keys()
    changes = get_args(orders.ModelOrder.model_fields["change"].annotation)
    assert set(changes) == ORDERS["/v1/models/chat-fast"].keys()
