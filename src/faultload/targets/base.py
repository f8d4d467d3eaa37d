"""What every target offers: identity, capabilities, replicas, and the acts faults are made of.

Faults speak of components and intents; a target resolves them. An act names its victim by name and
uid, so that it never hits a replacement that took the victim's name in the meantime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

KILL_REPLICA = "kill-replica"
"""Capability: end a replica's processes at once, as SIGKILL does."""
HANG_REPLICA = "hang-replica"
"""Capability: stop a replica's processes without ending them, and let them go on (SIGSTOP)."""


@dataclass(frozen=True)
class Identity:
    """What a target is, beyond its name.

    Attributes:
        name: of the target file.
        kind: `local`, …
        fingerprint: the same only for the same platform; locks and journals are kept under it.
    """

    name: str
    kind: str
    fingerprint: str


@dataclass(frozen=True)
class Replica:
    """One replica of a component, as the target sees it now.

    Attributes:
        component: `engine`, `router`, …
        name: stays over restarts.
        uid: changes with every restart.
        tier: "" where the component has no tiers.
        node, zone: where it runs.
        ready: receives traffic.
        restarts: since the platform began.
        inflight: requests it is serving; None: unknown.
    """

    component: str
    name: str
    uid: str
    tier: str
    node: str
    zone: str
    ready: bool
    restarts: int
    inflight: int | None


@dataclass(frozen=True)
class PlatformEvent:
    """Something the platform says happened.

    Attributes:
        time_unix_s: its own clock.
        reason: one word, as Kubernetes has it: Killing, Started, Ready, BackOff.
        subject: what it happened to.
        message: in words.
    """

    time_unix_s: float
    reason: str
    subject: str
    message: str


@dataclass(frozen=True)
class Endpoints:
    """Where the platform listens.

    Attributes:
        inference_url: OpenAI-compatible, without `/v1`.
        prometheus_url: its Prometheus.
    """

    inference_url: str
    prometheus_url: str


class Target(Protocol):
    """One platform. Every call is bounded in time and raises `MissingError` when it is gone."""

    @property
    def identity(self) -> Identity:
        """Which platform this is."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """What faults may ask of it."""
        ...

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens."""
        ...

    def attachment(self) -> Mapping[str, str]:
        """Return what another process needs to reach the same platform. No secrets."""
        ...

    def replicas(self, component: str) -> Sequence[Replica]:
        """Return the component's replicas, by name; empty: there is no such component here."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the manifest keeps about the platform. No secrets."""
        ...

    def events(self) -> Sequence[PlatformEvent]:
        """Return what the platform reported since it began, oldest first."""
        ...

    def save_logs(self, folder: Path) -> None:
        """Write what the platform's processes logged into a folder of the record.

        Raises:
            OSError: it cannot be read or written.
        """
        ...

    def kill_replica(self, replica: str, uid: str) -> None:
        """End the replica's processes at once. Needs `KILL_REPLICA`.

        Raises:
            FaultError: it is gone, or its uid is another by now.
        """
        ...

    def stop_replica(self, replica: str, uid: str) -> None:
        """Stop its processes without ending them. Needs `HANG_REPLICA`. Idempotent."""
        ...

    def continue_replica(self, replica: str, uid: str) -> None:
        """Let stopped processes go on; nothing to do when that uid is gone. Idempotent."""
        ...

    def close(self) -> None:
        """End what this object started; leave alone what was there before. Idempotent."""
        ...
