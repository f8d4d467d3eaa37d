"""What tests of several runs need: time that passes at once, and a state folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    """Return the time that the waits between experiments go by."""
    made = Clock()
    monkeypatch.setattr("faultload.faults.proofs.time", made)
    monkeypatch.setattr("faultload.run.steady.time", made)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return made
