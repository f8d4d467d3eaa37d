"""`chaos discover faultload` lists what an experiment may name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import faultload
from faultload.faults import FAULTS


def test_every_fault_and_probe_is_discovered_with_its_arguments() -> None:
    """Under the module that experiments name, with types that a form can be made of."""
    found = faultload.discover(discover_system=False)

    activities = {activity["name"]: activity for activity in found["activities"]}
    assert {activity["mod"] for activity in activities.values()} == {"faultload.faults"}
    actions = {name for name, activity in activities.items() if activity["type"] == "action"}
    assert actions == {*FAULTS, "revert_all"}
    assert set(activities) - actions == {"ask_chaosk8s", "replicas_are_ready", "slos_are_met"}
    arguments = {one["name"]: one for one in activities["scale_to"]["arguments"]}
    assert arguments["replicas"] == {"name": "replicas", "type": "integer"}
    assert arguments["timeout_s"] == {"name": "timeout_s", "type": "number", "default": 60.0}
    for name, fault in FAULTS.items():
        assert fault.capability in activities[name]["doc"]


def test_the_stock_command_finds_us_as_set_up(tmp_path: Path) -> None:
    """Chaos Toolkit looks for the package's top level in its metadata: `make setup` puts it there.

    It is missing from most installations that can be edited, and then nothing is discovered.
    """
    chaos = Path(sys.executable).with_name("chaos")
    words = ["--no-version-check", "discover", "--no-install", "--discovery-path", "found.json"]
    done = subprocess.run(
        [chaos, *words, "faultload"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert FAULTS.keys() <= {activity["name"] for activity in found["activities"]}
