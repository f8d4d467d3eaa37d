"""What every test of a fault needs: a journal, and time that passes at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from clock import Clock
from memory import Platform, replica
from senders import Senders

from faultload.record import InjectionJournal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the time that faults wait by."""
    made = Clock()
    monkeypatch.setattr("faultload.faults.proofs.time", made)
    monkeypatch.setattr("faultload.faults.eviction.time", made)
    monkeypatch.setattr("faultload.faults.spot_interrupt.time", made)
    monkeypatch.setattr("faultload.faults.release_bad.time", made)
    return made


@pytest.fixture
def journal(tmp_path: Path) -> InjectionJournal:
    """Return an empty journal."""
    return InjectionJournal(tmp_path / "injections.jsonl")


@pytest.fixture
def two_zones() -> Platform:
    """Return a quiet on-demand machine and a busy spot one, in zones of their own."""
    made = Platform(
        replica("a"),
        replica("b", tier="slow"),
        replica("c", node="node-b", zone="zone-b", inflight=3),
        replica("d", node="node-b", zone="zone-b", inflight=1, tier="slow"),
    )
    for name, kind in (("node-a", "on-demand"), ("node-b", "spot")):
        made.machines[name] = replace(made.machines[name], capacity_type=kind)
    return made


@pytest.fixture
def senders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Senders:
    """Return senders that send nothing."""
    return Senders(monkeypatch, tmp_path)
