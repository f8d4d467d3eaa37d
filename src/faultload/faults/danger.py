"""How dangerous a fault is: of several experiments, those that can do least harm go first."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from faultload import targets


class Danger(IntEnum):
    """What a fault can do at its worst, with nothing but its capability to go by."""

    HOLDS_BACK = 1
    """Reversible, and what serves now goes on serving."""
    DEGRADES = 2
    """Replicas serve less, or more slowly."""
    TAKES_REPLICAS = 3
    """Replicas stop serving, or their number changes."""
    TAKES_MORE = 4
    """A machine, a zone, a whole component, or something that all replicas depend on."""


DANGER: Mapping[str, Danger] = {
    targets.ASK_CHAOSK8S: Danger.HOLDS_BACK,
    targets.AUTOSCALING: Danger.HOLDS_BACK,
    targets.CORDON_NODE: Danger.HOLDS_BACK,
    targets.WITHHOLD_CAPACITY: Danger.HOLDS_BACK,
    targets.ADD_LOAD: Danger.DEGRADES,
    targets.DISTURB_NETWORK: Danger.DEGRADES,
    targets.GPU_SLOW: Danger.DEGRADES,
    targets.KV_PRESSURE: Danger.DEGRADES,
    targets.BAD_RELEASE: Danger.TAKES_REPLICAS,
    targets.DELETE_REPLICA: Danger.TAKES_REPLICAS,
    targets.DRAIN_NODE: Danger.TAKES_REPLICAS,
    targets.EVICT_REPLICA: Danger.TAKES_REPLICAS,
    targets.GPU_MEMORY: Danger.TAKES_REPLICAS,
    targets.GPU_XID: Danger.TAKES_REPLICAS,
    targets.HANG_ENGINE: Danger.TAKES_REPLICAS,
    targets.HANG_REPLICA: Danger.TAKES_REPLICAS,
    targets.KILL_ENGINE: Danger.TAKES_REPLICAS,
    targets.KILL_REPLICA: Danger.TAKES_REPLICAS,
    targets.PARTITION: Danger.TAKES_REPLICAS,
    targets.ROLL_OUT: Danger.TAKES_REPLICAS,
    targets.SCALE: Danger.TAKES_REPLICAS,
    targets.SCALE_WORKLOAD: Danger.TAKES_REPLICAS,
    targets.TERMINATE_PODS: Danger.TAKES_REPLICAS,
    targets.FAIL_ZONE: Danger.TAKES_MORE,
    targets.INTERRUPT_SPOT: Danger.TAKES_MORE,
    targets.LOSE_NODE: Danger.TAKES_MORE,
    targets.SPOIL_MODEL: Danger.TAKES_MORE,
}
"""Capability → the worst that a fault which needs it can do. Every capability stands here."""
