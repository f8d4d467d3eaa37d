"""Every fault there is, by the name experiments and journals use."""

from __future__ import annotations

from collections.abc import Mapping

from faultload.faults.bad_release import BadRelease
from faultload.faults.engine_hang import HangEngine
from faultload.faults.engine_kill import KillEngine
from faultload.faults.gpu_memory import ExhaustGpuMemory
from faultload.faults.gpu_slow import SlowGpu
from faultload.faults.gpu_xid import RaiseGpuXid
from faultload.faults.node_cordon import CordonNode
from faultload.faults.node_drain import DrainNode
from faultload.faults.protocol import FaultClass
from faultload.faults.replica_delete import DeleteReplica
from faultload.faults.replica_evict import EvictReplica
from faultload.faults.replica_hang import HangReplica
from faultload.faults.replica_kill import KillReplica
from faultload.faults.replica_partition import PartitionReplica
from faultload.faults.roll_out import RollOut
from faultload.faults.scale_to import ScaleTo
from faultload.faults.spoil_model import SpoilModel

FAULTS: Mapping[str, FaultClass] = {
    fault.name: fault
    for fault in (
        KillReplica,
        HangReplica,
        DeleteReplica,
        EvictReplica,
        CordonNode,
        DrainNode,
        ScaleTo,
        PartitionReplica,
        HangEngine,
        KillEngine,
        ExhaustGpuMemory,
        RaiseGpuXid,
        SlowGpu,
        RollOut,
        BadRelease,
        SpoilModel,
    )
}
"""Name → class; each follows `faults.protocol.Fault`."""
