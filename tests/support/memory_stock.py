"""The in-memory target as a cluster: with a namespace, labels and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from memory import Platform, replica

from faultload.errors import RefusedError
from faultload.targets import Found, Replica, Workload

NAMESPACE = "llm"


@dataclass
class Client:
    """What chaosk8s is given to ask with."""

    closed: bool = False

    def close(self) -> None:
        self.closed = True


class StockPlatform(Platform):
    """A target whose replicas are pods of one namespace, each labelled `app=` and its component.

    Attributes:
        strangers: pods of none of the target's components, found beside those by any selector.
        client: what probes are given.
    """

    def __init__(self, *replicas: Replica, **options: Any) -> None:
        super().__init__(*replicas, **options)
        self.strangers: list[str] = []
        self.client = Client()

    def find_replicas(self, namespace: str, selector: str) -> Sequence[Found]:
        self._refuse_others(namespace)
        everybody = [*self.engines.values(), *self.others]
        wanted = selector.partition("=")[2]
        # Not in order of name: the oldest first.
        found = [
            Found(one, f"2026-01-{index + 1:02d}")
            for index, one in enumerate(everybody)
            if wanted in ("", one.component)
        ]
        unknown = [replace(replica(name), component="") for name in self.strangers]
        return [*found, *(Found(one, "2026-02-01") for one in unknown)]

    def find_workload(self, namespace: str, name: str) -> Workload | None:
        self._refuse_others(namespace)
        return self.tiers.get(name)

    def kubernetes_client(self, namespace: str) -> Client:
        self._refuse_others(namespace)
        return self.client

    def _refuse_others(self, namespace: str) -> None:
        if namespace != NAMESPACE:
            raise RefusedError(f"namespace {namespace!r} is not the target's: expected {NAMESPACE}")
