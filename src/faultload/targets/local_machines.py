"""The local platform's machines, zones and capacity."""

from __future__ import annotations

from faultload.targets.machine_acts import NoMachineActs


class LocalMachines(NoMachineActs):
    """That part of a local target."""
