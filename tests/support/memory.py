"""A target made of plain objects, for tests of what is asked of it and in what order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from faultload.errors import FaultError
from faultload.targets import HANG_REPLICA, KILL_REPLICA, Identity, PlatformEvent, Replica
from faultload.targets.base import Endpoints


def replica(name: str, *, tier: str = "fast", ready: bool = True, inflight: int = 0) -> Replica:
    """Return an engine replica whose uid is derived from its name."""
    return Replica("engine", name, f"u-{name}", tier, "node-a", "zone-a", ready, 0, inflight)


class Platform:
    """A target in memory. `acts` lists what was asked of it; `deaf` ignores every act."""

    def __init__(self, *replicas: Replica, deaf: bool = False, heals: bool = True) -> None:
        self.engines = {r.name: r for r in replicas}
        self.acts: list[tuple[str, str]] = []
        self.deaf, self.heals = deaf, heals
        self.capabilities = frozenset({KILL_REPLICA, HANG_REPLICA})
        self.identity = Identity("memory", "memory", "0" * 16)
        self.endpoints = Endpoints("http://127.0.0.1:1", "http://127.0.0.1:1")

    def attachment(self) -> Mapping[str, str]:
        return {}

    def replicas(self, component: str) -> Sequence[Replica]:
        return list(self.engines.values()) if component == "engine" else []

    def describe(self) -> dict[str, Any]:
        return {}

    def events(self) -> Sequence[PlatformEvent]:
        return []

    def save_logs(self, folder: Path) -> None:
        """Nothing was logged."""

    def kill_replica(self, name: str, uid: str) -> None:
        self._act("kill", name, uid, ready=False)
        if self.heals and not self.deaf:
            old = self.engines[name]
            self.engines[name] = replace(old, uid=uid + "'", ready=True, restarts=1)

    def stop_replica(self, name: str, uid: str) -> None:
        self._act("stop", name, uid, ready=False)

    def continue_replica(self, name: str, uid: str) -> None:
        self._act("continue", name, uid, ready=True)

    def missing_rights(self, capabilities: Iterable[str]) -> Sequence[str]:
        return []

    def lock(self, holder: str) -> AbstractContextManager[Any]:
        return nullcontext(SimpleNamespace(problem=""))

    def close(self) -> None:
        """Nothing is held."""

    def _act(self, verb: str, name: str, uid: str, *, ready: bool) -> None:
        if self.engines[name].uid != uid:
            raise FaultError(f"{name} is another by now")
        self.acts.append((verb, name))
        if not self.deaf:
            self.engines[name] = replace(self.engines[name], ready=ready)
