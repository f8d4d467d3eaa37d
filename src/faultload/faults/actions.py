"""What experiments call. Chaos Toolkit passes the arguments and keeps what is returned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faultload.faults.protocol import FaultClass, Intent
from faultload.faults.replica_hang import HangReplica
from faultload.faults.replica_kill import KillReplica
from faultload.faults.session import FaultSession, SessionFile
from faultload.faults.victims import Choice, Select


def kill_replica(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
) -> dict[str, Any]:
    """Kill replicas of a component at once. Needs the capability kill-replica."""
    return _apply(KillReplica, Choice(component, replicas, tier, select))


def hang_replica(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
) -> dict[str, Any]:
    """Stop replicas without ending them, until reverted. Needs the capability hang-replica."""
    return _apply(HangReplica, Choice(component, replicas, tier, select))


def revert_all() -> list[dict[str, Any]]:
    """Revert every fault still in force, newest first, and prove each gone."""
    with _session() as (_, session):
        return session.revert_all()


def _apply(fault: FaultClass, intent: Intent) -> dict[str, Any]:
    with _session() as (about, session):
        return session.apply(fault(session.target, intent, about.limits))


@contextmanager
def _session() -> Iterator[tuple[SessionFile, FaultSession]]:
    about = SessionFile.find()
    target = about.attach()
    try:
        yield about, FaultSession(target, about.journal, about.ttl_s)
    finally:
        target.close()
