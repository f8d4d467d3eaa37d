"""What every test of a fault needs: a journal, and time that passes at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from clock import Clock
from senders import Senders

from faultload.record import InjectionJournal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the time that faults wait by."""
    made = Clock()
    monkeypatch.setattr("faultload.faults.proofs.time", made)
    monkeypatch.setattr("faultload.faults.eviction.time", made)
    return made


@pytest.fixture
def journal(tmp_path: Path) -> InjectionJournal:
    """Return an empty journal."""
    return InjectionJournal(tmp_path / "injections.jsonl")


@pytest.fixture
def senders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Senders:
    """Return senders that send nothing."""
    return Senders(monkeypatch, tmp_path)
