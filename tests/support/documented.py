"""Holding what faults really ask of a platform against what a dry run says that they would."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest

from faultload.faults import FAULTS
from faultload.targets.control import ControlApi
from faultload.targets.kubernetes.api import Api, Call
from faultload.targets.kubernetes.resources import Resource
from faultload.targets.kubernetes.rights import STEPS, Right, Steps
from faultload.targets.local_orders import ORDERS

_STEPS = ("inject", "verify", "revert", "verify_reverted")


class Watch:
    """What faults ask while it is on.

    Attributes:
        wrong: a line for each order that is not documented for its capability and step.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._doing: list[tuple[str, str]] = []

    def step(self, step: str, act: Callable[..., Any]) -> Callable[..., Any]:
        """Return a step of a fault that is watched."""

        @wraps(act)
        def watched(fault: Any, *words: Any) -> Any:
            self._doing.append((fault.capability, step))
            try:
                return act(fault, *words)
            finally:
                self._doing.pop()

        return watched

    def local(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        """Return `ControlApi.ask`, watched."""

        def asked(api: Any, method: str, path: str, *more: Any, **named: Any) -> Any:
            body = named.get("body", more[0] if more else None) or {}
            if method != "GET":
                self._note(f"{method} {path} {body}", _is_order, (method, path, body))
            return ask(api, method, path, *more, **named)

        return asked

    def cluster(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        """Return `Api.ask`, watched."""

        def asked(api: Any, call: Call, *more: Any) -> Any:
            if call.method != "GET":
                self._note(f"{call.method} {call.url}", _is_right, (call,))
            return ask(api, call, *more)

        return asked

    def _note(self, order: str, is_documented: Callable[..., bool], about: Any) -> None:
        if self._doing and not is_documented(*self._doing[-1], *about):
            capability, step = self._doing[-1]
            self.wrong.append(f"{capability}: {step}: {order} is not documented")


@contextmanager
def only_documented(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """See that every order of a fault, while this lasts, is one that is documented for its step.

    What only reads may be asked in every step; a proof gives no orders at all.
    """
    watch = Watch()
    for fault in set(FAULTS.values()):
        for step in _STEPS:
            monkeypatch.setattr(fault, step, watch.step(step, getattr(fault, step)))
    monkeypatch.setattr(ControlApi, "ask", watch.local(ControlApi.ask))
    monkeypatch.setattr(Api, "ask", watch.cluster(Api.ask))
    yield watch
    assert watch.wrong == []


def _is_order(capability: str, step: str, method: str, path: str, body: Mapping[str, Any]) -> bool:
    documented = getattr(ORDERS[capability], step, ()) if step != "verify" else ()
    for line in documented:
        how, where, *fixed = line.split()
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(where))
        pairs = [pair.partition("=") for pair in fixed]
        said = all(str(body.get(key)) == value for key, _, value in pairs)
        if how == method and re.fullmatch(pattern, path) and said:
            return True
    return False


def _is_right(capability: str, step: str, call: Call) -> bool:
    steps = STEPS.get(capability, Steps())
    documented = getattr(steps, step, ()) if step != "verify" else ()
    return any(_is_of(right, call) for right in documented)


def _is_of(right: Right, call: Call) -> bool:
    verbs = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
    return right.verb == verbs[call.method] and bool(_path(right).fullmatch(call.path))


def _path(right: Right) -> re.Pattern[str]:
    """Return what the paths look like that a right is about."""
    kind: Resource = right.kind
    namespace = r"/namespaces/[^/]+" if right.scope == "namespaces" else ""
    name = "" if right.verb == "create" and not right.subresource else "/[^/]+"
    rest = f"/{right.subresource}" if right.subresource else ""
    return re.compile(rf"/api(s/{kind.group}|)/{kind.version}{namespace}/{kind.plural}{name}{rest}")
