"""Whole runs on real local platforms."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from documented import only_documented
from projects import PATIENCE, Project, make_project, processes_mentioning


@pytest.fixture(autouse=True)
def _documented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See that no fault gives an order that a dry run would not have shown."""
    with only_documented(monkeypatch):
        yield


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Return a project whose runs are short; nothing of it may be left afterwards."""
    phases = {"warmup_s": 2, "baseline_s": 5, "hold_s": 4, "recovery_s": 5}
    made = make_project(tmp_path, phases, patience=PATIENCE)
    yield made
    for pid in processes_mentioning(str(made.path)):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def left_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project with a platform left up and a load beside it; starts in seconds.

    For a module, not for the session: it costs a third of a core as long as it is up.
    """
    made = make_project(
        tmp_path_factory.mktemp("left-up"),
        {"warmup_s": 1, "baseline_s": 4, "hold_s": 5, "recovery_s": 3},
        patience=PATIENCE,
    )
    done = made.faultload("platform", "up", "--load", "--set", "cold_start_s=1")
    assert done.returncode == 0, done.stderr
    yield made
    made.faultload("platform", "down")
    made.is_clean()
