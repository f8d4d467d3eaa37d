"""The scale of danger: whoever declares a capability says what it can do at its worst."""

from __future__ import annotations

from faultload.faults import FAULTS
from faultload.faults.danger import DANGER, Danger
from faultload.targets import base


def test_every_capability_has_its_danger() -> None:
    """One that is missing would have its experiments run in an order that nobody chose."""
    declared = {
        value: name
        for name, value in vars(base).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    }
    missing = sorted(declared[one] for one in declared.keys() - DANGER.keys())
    assert not missing, f"faults/danger.py: DANGER: add {', '.join(missing)} with the worst it does"
    unknown = sorted(DANGER.keys() - declared.keys())
    assert not unknown, f"faults/danger.py: DANGER: no such capability: {', '.join(unknown)}"


def test_every_fault_has_its_danger() -> None:
    """A fault's capability is one of those, so that each experiment has its place."""
    assert {fault.capability for fault in FAULTS.values()} <= DANGER.keys()


def test_scale_goes_from_what_serves_on_to_what_takes_more() -> None:
    """Four steps, and the numbers are what documents and JSON show."""
    assert [(one.name, int(one)) for one in Danger] == [
        ("HOLDS_BACK", 1),
        ("DEGRADES", 2),
        ("TAKES_REPLICAS", 3),
        ("TAKES_MORE", 4),
    ]
