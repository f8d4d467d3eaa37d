"""What experiments call. Chaos Toolkit passes the arguments and keeps what is returned.

Annotations are types here and not text: `chaos discover` shows them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faultload.faults.engine_hang import HangEngine
from faultload.faults.engine_kill import KillEngine
from faultload.faults.gpu_memory import ExhaustGpuMemory
from faultload.faults.gpu_slow import SlowGpu, Slowness
from faultload.faults.gpu_xid import Breakage, RaiseGpuXid, Xid
from faultload.faults.node_cordon import CordonNode
from faultload.faults.node_drain import Drain, DrainNode
from faultload.faults.protocol import FaultClass, Intent
from faultload.faults.replica_delete import DeleteReplica, Deletion
from faultload.faults.replica_evict import Eviction, EvictReplica
from faultload.faults.replica_hang import HangReplica
from faultload.faults.replica_kill import KillReplica
from faultload.faults.replica_partition import PartitionReplica
from faultload.faults.scale_to import ScaleTo, Size
from faultload.faults.session import FaultSession, SessionFile
from faultload.faults.victims import Choice, NodeChoice, Select

__all__ = [
    "cordon_node",
    "delete_replica",
    "drain_node",
    "evict_replica",
    "exhaust_gpu_memory",
    "gpu_xid",
    "hang_engine",
    "hang_replica",
    "kill_engine",
    "kill_replica",
    "partition_replica",
    "revert_all",
    "scale_to",
    "slow_gpu",
]


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


def delete_replica(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
    grace_s: float | None = None,
) -> dict[str, Any]:
    """Delete replicas in order, within `grace_s` or their own. Needs delete-replica."""
    return _apply(DeleteReplica, Deletion(component, replicas, tier, select, grace_s))


def evict_replica(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Evict replicas once the disruption budget allows it. Needs evict-replica."""
    return _apply(EvictReplica, Eviction(component, replicas, tier, select, timeout_s))


def partition_replica(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
) -> dict[str, Any]:
    """Cut replicas off the network, until reverted. Needs the capability partition."""
    return _apply(PartitionReplica, Choice(component, replicas, tier, select))


def cordon_node(
    component: str = "engine",
    nodes: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
) -> dict[str, Any]:
    """Keep new replicas off nodes that a component runs on. Needs cordon-node."""
    return _apply(CordonNode, NodeChoice(component, nodes, tier, select))


def drain_node(
    component: str = "engine",
    nodes: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
    timeout_s: float = 120.0,
) -> dict[str, Any]:
    """Cordon nodes that a component runs on and evict what is there. Needs drain-node."""
    return _apply(DrainNode, Drain(component, nodes, tier, select, timeout_s))


def scale_to(
    replicas: int,
    component: str = "engine",
    tier: str | None = None,
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Have a component or tier keep so many replicas, until reverted. Needs scale."""
    return _apply(ScaleTo, Size(replicas, component, tier, timeout_s))


def hang_engine(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
) -> dict[str, Any]:
    """Stop engine cores beneath healthy servers, until reverted. Needs hang-engine."""
    return _apply(HangEngine, Choice(component, replicas, tier, select))


def kill_engine(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
) -> dict[str, Any]:
    """Kill engine cores at once; their servers are left to notice. Needs kill-engine."""
    return _apply(KillEngine, Choice(component, replicas, tier, select))


def exhaust_gpu_memory(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
) -> dict[str, Any]:
    """Take the memory that engines left on their GPUs, until reverted. Needs gpu-memory."""
    return _apply(ExhaustGpuMemory, Choice(component, replicas, tier, select))


def gpu_xid(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
    xid: Xid = 79,
) -> dict[str, Any]:
    """Break the GPUs of replicas with an Xid of 48, 74, 79 or 94. Needs gpu-xid."""
    return _apply(RaiseGpuXid, Breakage(component, replicas, tier, select, xid))


def slow_gpu(
    component: str = "engine",
    replicas: int = 1,
    tier: str | None = None,
    select: Select = "busiest",
    factor: float = 3.0,
) -> dict[str, Any]:
    """Make each step of engines take `factor` times as long, until reverted. Needs gpu-slow."""
    return _apply(SlowGpu, Slowness(component, replicas, tier, select, factor))


def revert_all() -> list[dict[str, Any]]:
    """Revert every fault still in force, newest first, and prove each gone."""
    with _session(to_undo=True) as (_, session):
        return session.revert_all()


def _apply(fault: FaultClass, intent: Intent) -> dict[str, Any]:
    with _session() as (about, session):
        return session.apply(fault(session.target, intent, about.limits))


@contextmanager
def _session(*, to_undo: bool = False) -> Iterator[tuple[SessionFile, FaultSession]]:
    about = SessionFile.find()
    target = about.attach(to_undo=to_undo)
    try:
        yield about, FaultSession(target, about.journal, about.ttl_s)
    finally:
        target.close()
