"""Faults: one kind of harm with a way back, one file each.

The functions named here are what an experiment's `provider.func` names, with
`module: faultload.faults`.
"""

from faultload.faults.actions import hang_replica, kill_replica, revert_all
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
    "hang_replica",
    "kill_replica",
    "replicas_are_ready",
    "revert_all",
    "revert_unreverted",
    "slos_are_met",
]
