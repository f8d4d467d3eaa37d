"""Every fault there is, by the name experiments and journals use."""

from __future__ import annotations

from collections.abc import Mapping

from faultload.faults.protocol import FaultClass
from faultload.faults.replica_hang import HangReplica
from faultload.faults.replica_kill import KillReplica

FAULTS: Mapping[str, FaultClass] = {fault.name: fault for fault in (KillReplica, HangReplica)}
"""Name → class; each follows `faults.protocol.Fault`."""
