"""A target where somebody's change is in force is not started on, whoever made it."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory import Platform, replica
from projects import make_project

from faultload.errors import RefusedError
from faultload.run.plan import prepare
from faultload.run.progress import Silent
from faultload.run.supervisor import Supervisor
from faultload.spec import Catalogue


def test_changes_of_another_machines_run_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No journal here knows them; the target says them, and both ways to undo are named."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    project = make_project(tmp_path / "project", {})
    plan = prepare(Catalogue(project.path), "engine/replica-loss", "local")
    platform = Platform(replica("fast-0"))
    platform.left = ["deployment/vllm: scale_to-1a2b of faultload@ci-7"]

    with pytest.raises(RefusedError, match="scale_to-1a2b of faultload@ci-7.*--expired") as refused:
        Supervisor(plan, platform, Silent()).__enter__()

    assert "faultload recover where that was started" in str(refused.value)
    assert not (project.path / "reports").exists()
