"""What each capability asks of the local platform: the orders that its control API is given.

An order is a method and a path, with what is fixed of the body. Tests hold every order that a fault
really gives against it.
"""

from __future__ import annotations

from collections.abc import Mapping

from faultload.targets.base import (
    ADD_LOAD,
    AUTOSCALING,
    BAD_RELEASE,
    CORDON_NODE,
    DELETE_REPLICA,
    DISTURB_NETWORK,
    DRAIN_NODE,
    EVICT_REPLICA,
    FAIL_ZONE,
    GPU_MEMORY,
    GPU_SLOW,
    GPU_XID,
    HANG_ENGINE,
    HANG_REPLICA,
    INTERRUPT_SPOT,
    KILL_ENGINE,
    KILL_REPLICA,
    KV_PRESSURE,
    LOSE_NODE,
    PARTITION,
    ROLL_OUT,
    SCALE,
    SPOIL_MODEL,
    WITHHOLD_CAPACITY,
)
from faultload.targets.calls import EVERY_RUN, Calls

_REPLICA = "POST /v1/replicas/{replica}"
_COMPONENT = "POST /v1/components/{component}"
_NODE = "POST /v1/nodes/{node}"
_TIER = "POST /v1/tiers/{tier}"
_LINKS = ["POST /v1/links/{link}"]
_CORE = "process=engine-core"
_SENDERS = ["ends our own sending processes"]
_ENGINE = ["GET {engine}/health", "GET {engine}/metrics", "POST {engine}/v1/completions"]
"""Asked past the router, of one engine: a token proves that it works."""

ORDERS: Mapping[str, Calls] = {
    EVERY_RUN: Calls(verify=["GET /v1/state", "GET /v1/events", "GET {prometheus}/api/v1/*"]),
    ADD_LOAD: Calls(["POST {router}/v1/chat/completions, by processes of ours"], revert=_SENDERS),
    AUTOSCALING: Calls(),
    BAD_RELEASE: Calls([f"{_TIER}/release"], _ENGINE, [f"{_TIER}/rollback"]),
    CORDON_NODE: Calls([f"{_NODE}/cordon"], revert=[f"{_NODE}/uncordon"]),
    DELETE_REPLICA: Calls([f"{_REPLICA}/delete"]),
    DISTURB_NETWORK: Calls(_LINKS, ["connections to the links of its victims"], _LINKS),
    DRAIN_NODE: Calls([f"{_NODE}/cordon", f"{_REPLICA}/evict"], revert=[f"{_NODE}/uncordon"]),
    EVICT_REPLICA: Calls([f"{_REPLICA}/evict"]),
    FAIL_ZONE: Calls(["POST /v1/zones/{zone}/fail"], revert=["POST /v1/zones/{zone}/restore"]),
    GPU_MEMORY: Calls(
        [f"{_REPLICA}/engine/memory"],
        _ENGINE,
        [f"{_REPLICA}/engine/memory", f"{_NODE}/reset-gpus"],
    ),
    GPU_SLOW: Calls([f"{_REPLICA}/engine/slow"], _ENGINE, [f"{_REPLICA}/engine/slow"]),
    GPU_XID: Calls(
        [f"{_REPLICA}/engine/xid"],
        _ENGINE,
        [f"{_REPLICA}/signal signal=KILL", f"{_NODE}/reset-gpus"],
    ),
    HANG_ENGINE: Calls(
        [f"{_REPLICA}/signal signal=STOP {_CORE}"],
        _ENGINE,
        [f"{_REPLICA}/signal signal=CONT {_CORE}"],
    ),
    HANG_REPLICA: Calls(
        [f"{_REPLICA}/signal signal=STOP", f"{_COMPONENT}/signal signal=STOP"],
        _ENGINE,
        [f"{_REPLICA}/signal signal=CONT", f"{_COMPONENT}/signal signal=CONT"],
    ),
    INTERRUPT_SPOT: Calls(
        [f"{_NODE}/interrupt", f"{_NODE}/rebalance"], ["GET {imds}/latest/meta-data/*"]
    ),
    KILL_ENGINE: Calls([f"{_REPLICA}/signal signal=KILL {_CORE}"]),
    KILL_REPLICA: Calls([f"{_REPLICA}/signal signal=KILL", f"{_COMPONENT}/signal signal=KILL"]),
    KV_PRESSURE: Calls(
        ["POST {engine}/v1/chat/completions, by processes of ours"],
        ["GET {engine}/metrics", "GET {engine}/v1/models"],
        _SENDERS,
    ),
    LOSE_NODE: Calls([f"{_NODE}/terminate"]),
    PARTITION: Calls(_LINKS, revert=_LINKS),
    ROLL_OUT: Calls([f"{_TIER}/release"]),
    SCALE: Calls(
        [f"{_TIER}/scale", f"{_COMPONENT}/signal signal=KILL hold=True"],
        ["a connection to where the component listens"],
        [f"{_TIER}/scale", f"{_COMPONENT}/start"],
    ),
    SPOIL_MODEL: Calls(
        ["POST /v1/models/{model}"],
        ["GET {store}/models/*"],
        ["POST /v1/models/{model} change=restore"],
    ),
    WITHHOLD_CAPACITY: Calls(
        ["POST /v1/capacity available=False"], revert=["POST /v1/capacity available=True"]
    ),
}
"""Capability → what is asked for it. `{…}` is a name, or where something listens."""
