"""Where a run happens, and what can be done to it there."""

from faultload.targets.base import (
    CORDON_NODE,
    DELETE_REPLICA,
    DRAIN_NODE,
    EVICT_REPLICA,
    HANG_REPLICA,
    KILL_REPLICA,
    PARTITION,
    SCALE,
    Acts,
    Identity,
    Lock,
    Mark,
    Node,
    Occupant,
    PlatformEvent,
    Refusal,
    Replica,
    Target,
    Workload,
)
from faultload.targets.local import LocalTarget
from faultload.targets.opening import attach, connect
from faultload.targets.state import TargetLock, is_locked, state_home

__all__ = [
    "CORDON_NODE",
    "DELETE_REPLICA",
    "DRAIN_NODE",
    "EVICT_REPLICA",
    "HANG_REPLICA",
    "KILL_REPLICA",
    "PARTITION",
    "SCALE",
    "Acts",
    "Identity",
    "LocalTarget",
    "Lock",
    "Mark",
    "Node",
    "Occupant",
    "PlatformEvent",
    "Refusal",
    "Replica",
    "Target",
    "TargetLock",
    "Workload",
    "attach",
    "connect",
    "is_locked",
    "state_home",
]
