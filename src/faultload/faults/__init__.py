"""Faults: one kind of harm with a way back, one file each.

The functions named here are what an experiment's `provider.func` names, with
`module: faultload.faults`.
"""

from faultload.faults.actions import (
    cordon_node,
    delete_replica,
    drain_node,
    evict_replica,
    exhaust_gpu_memory,
    gpu_xid,
    hang_engine,
    hang_replica,
    kill_engine,
    kill_replica,
    partition_replica,
    revert_all,
    scale_to,
    slow_gpu,
)
from faultload.faults.catalogue import FAULTS
from faultload.faults.probes import replicas_are_ready, slos_are_met
from faultload.faults.protocol import Evidence, Fault, Plan
from faultload.faults.session import FaultSession, SessionFile, revert_unreverted

__all__ = [
    "FAULTS",
    "Evidence",
    "Fault",
    "FaultSession",
    "Plan",
    "SessionFile",
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
    "replicas_are_ready",
    "revert_all",
    "revert_unreverted",
    "scale_to",
    "slos_are_met",
    "slow_gpu",
]
