"""Faults: one kind of harm with a way back, one file each.

The functions of `actions` and `probes` are what an experiment's `provider.func` names, with
`module: faultload.faults`.
"""

from faultload.faults.actions import ACTIONS
from faultload.faults.catalogue import FAULTS
from faultload.faults.probes import ask_chaosk8s, replicas_are_ready, slos_are_met
from faultload.faults.protocol import Evidence, Fault, Plan
from faultload.faults.session import FaultSession, SessionFile, revert_unreverted

globals().update(ACTIONS)

__all__ = [  # noqa: PLE0604  # those of the actions are names too
    "FAULTS",
    "Evidence",
    "Fault",
    "FaultSession",
    "Plan",
    "SessionFile",
    "ask_chaosk8s",
    "replicas_are_ready",
    "revert_unreverted",
    "slos_are_met",
    *ACTIONS,
]
