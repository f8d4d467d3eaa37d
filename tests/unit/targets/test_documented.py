"""Tables of calls: every capability has one, and what is not in it is noticed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from documented import only_documented

from faultload.faults import FAULTS
from faultload.faults.danger import DANGER
from faultload.targets import offers
from faultload.targets.calls import EVERY_RUN
from faultload.targets.control import ControlApi
from faultload.targets.kubernetes.api import Api, Call
from faultload.targets.kubernetes.rights import STEPS, calls_for
from faultload.targets.local_orders import ORDERS


def test_every_capability_that_is_offered_says_what_it_asks() -> None:
    """What a target can do and does not say would be missing in a dry run."""
    offered = offers()
    assert set(ORDERS) == offered["local"] | {EVERY_RUN}
    assert set(STEPS) == offered["kubernetes"]
    assert set(ORDERS) | set(STEPS) == set(DANGER) | {EVERY_RUN}


def test_what_a_cluster_is_asked_is_said_in_verbs_and_resources() -> None:
    """From the table of rights, by step."""
    drain = calls_for("drain-node")
    assert drain.inject == [
        "get, patch nodes in the whole cluster",
        "list pods in the whole cluster",
        "get pods in its namespaces",
        "create pods/eviction in its namespaces",
    ]
    assert drain.revert == ["get, patch nodes in the whole cluster"]
    assert calls_for(EVERY_RUN).inject == ["get, create, patch leases in its namespaces"]
    assert calls_for("no-such").inject == []


@pytest.mark.parametrize(
    ("step", "order", "is_fine"),
    [
        ("inject", ("POST", "/v1/replicas/fast-0/signal", {"signal": "KILL"}), True),
        ("inject", ("POST", "/v1/replicas/fast-0/signal", {"signal": "STOP"}), False),
        ("inject", ("POST", "/v1/replicas/fast-0/delete", {}), False),
        ("inject", ("POST", "/v1/replicas/a/b/signal", {"signal": "KILL"}), False),
        ("inject", ("GET", "/v1/state", {}), True),
        ("verify", ("POST", "/v1/replicas/fast-0/signal", {"signal": "KILL"}), False),
        ("revert", ("POST", "/v1/replicas/fast-0/signal", {"signal": "KILL"}), False),
    ],
)
def test_order_that_is_not_in_the_table_is_noticed(
    monkeypatch: pytest.MonkeyPatch, step: str, order: Any, is_fine: bool
) -> None:
    """By method, path and what is fixed of the body, in the step it is documented for."""
    kill: Any = FAULTS["kill_replica"]
    api = object.__new__(ControlApi)
    monkeypatch.setattr(ControlApi, "ask", lambda *_: None)
    monkeypatch.setattr(kill, step, lambda *_: api.ask(*order))

    with only_documented(monkeypatch) as watch:
        getattr(kill, step)(SimpleNamespace(capability="kill-replica"), None)
        found, watch.wrong = watch.wrong, []

    assert (found == []) is is_fine


@pytest.mark.parametrize(
    ("call", "is_fine"),
    [
        (Call("DELETE", "/api/v1/namespaces/llm/pods/a", ""), True),
        (Call("DELETE", "/api/v1/namespaces/llm/configmaps/a", ""), False),
        (Call("PATCH", "/api/v1/namespaces/llm/pods/a", ""), False),
        (Call("DELETE", "/api/v1/nodes/a", ""), False),
        (Call("GET", "/api/v1/namespaces/llm/secrets/a", ""), True),
    ],
)
def test_call_that_is_not_in_the_table_is_noticed(
    monkeypatch: pytest.MonkeyPatch, call: Call, is_fine: bool
) -> None:
    """By verb, resource and scope; what may be read is the roles' business."""
    kill: Any = FAULTS["kill_replica"]
    api = object.__new__(Api)
    monkeypatch.setattr(Api, "ask", lambda *_: None)
    monkeypatch.setattr(kill, "inject", lambda *_: api.ask(call))

    with only_documented(monkeypatch) as watch:
        kill.inject(SimpleNamespace(capability="kill-replica"), None)
        found, watch.wrong = watch.wrong, []

    assert (found == []) is is_fine
