"""The process that plays an experiment, told to end in the midst of it."""

from __future__ import annotations

import json
from pathlib import Path

from projects import wait_for

from faultload.run.chaos import ChaosChild

WAITS = {"type": "python", "module": "signal", "func": "pause"}
NOTHING = {"type": "python", "module": "os", "func": "getpid"}
LONG_S = 600


def test_interrupted_child_plays_its_rollbacks_at_once(tmp_path: Path) -> None:
    """Chaos Toolkit would pause after an activity that was cut short, as long as the hold is."""
    action = {"type": "action", "name": "harm", "provider": WAITS, "pauses": {"after": LONG_S}}
    experiment = {
        "title": "t",
        "description": "d",
        "method": [action],
        "rollbacks": [{"type": "action", "name": "undo", "provider": NOTHING}],
    }
    path = tmp_path / "experiment.yaml"
    path.write_text(json.dumps(experiment), encoding="utf-8")
    child = ChaosChild(path, tmp_path / "journal.json", tmp_path / "session.json", tmp_path)
    said: list[tuple[str, str]] = []

    def has_said(kind: str) -> bool:
        said.extend((str(a["kind"]), str(a.get("name"))) for a in child.answers())
        return any(kind == one for one, _ in said)

    child.release()
    wait_for(lambda: has_said("activity"), 60, "the harm to begin")
    child.interrupt()
    child.end()

    assert has_said("ended"), said
    assert ("activity_completed", "undo") in said
    assert child.exit_code() == 0
