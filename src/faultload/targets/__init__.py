"""Where a run happens, and what can be done to it there."""

from faultload.targets.base import (
    HANG_REPLICA,
    KILL_REPLICA,
    Identity,
    PlatformEvent,
    Replica,
    Target,
)
from faultload.targets.local import LocalTarget
from faultload.targets.state import TargetLock, is_locked, state_home

__all__ = [
    "HANG_REPLICA",
    "KILL_REPLICA",
    "Identity",
    "LocalTarget",
    "PlatformEvent",
    "Replica",
    "Target",
    "TargetLock",
    "is_locked",
    "state_home",
]
