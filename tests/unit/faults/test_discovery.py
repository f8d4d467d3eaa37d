"""`chaos discover faultload` lists what an experiment may name.

Chaos Toolkit finds a package by the files of its distribution, which one that is installed to be
edited does not list; what it calls then is tried here.
"""

from __future__ import annotations

import faultload
from faultload.faults import FAULTS


def test_every_fault_and_probe_is_discovered_with_its_arguments() -> None:
    """Under the module that experiments name, with types that a form can be made of."""
    found = faultload.discover(discover_system=False)

    activities = {activity["name"]: activity for activity in found["activities"]}
    assert {activity["mod"] for activity in activities.values()} == {"faultload.faults"}
    actions = {name for name, activity in activities.items() if activity["type"] == "action"}
    assert actions == {*FAULTS, "revert_all"}
    assert set(activities) - actions == {"replicas_are_ready", "slos_are_met"}
    arguments = {one["name"]: one for one in activities["scale_to"]["arguments"]}
    assert arguments["replicas"] == {"name": "replicas", "type": "integer"}
    assert arguments["timeout_s"] == {"name": "timeout_s", "type": "number", "default": 60.0}
    for name, fault in FAULTS.items():
        assert fault.capability in activities[name]["doc"]
