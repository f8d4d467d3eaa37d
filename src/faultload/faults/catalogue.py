"""Every fault there is, by the name experiments and journals use."""

from __future__ import annotations

from collections.abc import Mapping

from faultload.faults.capacity_withhold import WithholdCapacity
from faultload.faults.component_outage import Outage
from faultload.faults.component_scale import ScaleTo
from faultload.faults.engine_hang import HangEngine
from faultload.faults.engine_kill import KillEngine
from faultload.faults.gpu_memory import ExhaustGpuMemory
from faultload.faults.gpu_slow import SlowGpu
from faultload.faults.gpu_xid import RaiseGpuXid
from faultload.faults.kv_cache_fill import FillKvCache
from faultload.faults.load_add import AddLoad
from faultload.faults.model_spoil import SpoilModel
from faultload.faults.network_resets import ResetConnections
from faultload.faults.network_slow import SlowNetwork
from faultload.faults.node_cordon import CordonNode
from faultload.faults.node_drain import DrainNode
from faultload.faults.node_lose import LoseNode
from faultload.faults.protocol import FaultClass
from faultload.faults.release_bad import BadRelease
from faultload.faults.release_roll_out import RollOut
from faultload.faults.replica_delete import DeleteReplica
from faultload.faults.replica_evict import EvictReplica
from faultload.faults.replica_hang import HangReplica
from faultload.faults.replica_kill import KillReplica
from faultload.faults.replica_partition import PartitionReplica
from faultload.faults.spot_advise import AdviseRebalance
from faultload.faults.spot_interrupt import InterruptSpot
from faultload.faults.stock import ScaleDeployment, ScaleStatefulset, TerminatePods
from faultload.faults.zone_fail import FailZone

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
        TerminatePods,
        ScaleDeployment,
        ScaleStatefulset,
        LoseNode,
        AdviseRebalance,
        InterruptSpot,
        FailZone,
        WithholdCapacity,
        RollOut,
        BadRelease,
        SpoilModel,
        AddLoad,
        FillKvCache,
        SlowNetwork,
        ResetConnections,
        Outage,
    )
}
"""Name → class; each follows `faults.protocol.Fault`."""
