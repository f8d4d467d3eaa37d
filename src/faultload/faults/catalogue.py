"""Every fault there is, by the name experiments and journals use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faultload.faults.replica_hang import HangReplica
from faultload.faults.replica_kill import KillReplica

FAULTS: Mapping[str, Any] = {fault.name: fault for fault in (KillReplica, HangReplica)}
"""Name → class; each follows `faults.protocol.Fault`."""
