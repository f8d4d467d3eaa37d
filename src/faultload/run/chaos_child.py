"""The chaos child: chaoslib on its main thread, one experiment, then it ends.

    python -m faultload.run.chaos_child EXPERIMENT JOURNAL

It says `{"kind": "ready"}` on standard output, waits for a line on standard input, plays the
experiment with the rollback strategy `always`, and says one JSON object an activity. It judges
nothing. Closing its standard input before that line ends it with nothing done.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, TextIO

import yaml
from chaoslib.experiment import run_experiment
from chaoslib.run import RunEventHandler
from chaoslib.types import Strategy

import faultload.faults  # noqa: F401  # seconds of imports, paid before the fault's moment comes
from faultload.secrecy import guard_process, redacted_data
from faultload.spec.clear_text import keep_experiment_secrets


def _keep_answers_apart() -> TextIO:
    """Return standard output as it was; whatever else prints in this process goes to the log."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


_ANSWERS = _keep_answers_apart()


def say(kind: str, **more: Any) -> None:
    """Write one JSON line for the supervisor."""
    _ANSWERS.write(json.dumps({"kind": kind, **redacted_data(more)}) + "\n")
    _ANSWERS.flush()


class _Teller(RunEventHandler):  # type: ignore[misc]  # chaoslib publishes no types
    """Tells the supervisor what chaoslib does, and keeps the live journal."""

    def __init__(self) -> None:
        self.journal: dict[str, Any] = {}

    def started(self, experiment: Any, journal: dict[str, Any]) -> None:  # noqa: ARG002
        self.journal = journal
        say("started")

    def start_activity(self, activity: dict[str, Any]) -> None:
        say("activity", name=activity.get("name"), type=activity.get("type"))

    def activity_completed(self, activity: dict[str, Any], run: dict[str, Any]) -> None:
        problem = run.get("exception") or []
        say(
            "activity_completed",
            name=activity.get("name"),
            type=activity.get("type"),
            status=run.get("status"),
            output=run.get("output"),
            problem=problem[-1].strip() if problem else "",
        )
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            # Chaos Toolkit would pause after an activity that was interrupted, too, and hold the
            # harm for so long before it plays the rollbacks.
            raise KeyboardInterrupt

    def start_rollbacks(self, experiment: Any) -> None:  # noqa: ARG002
        say("rollbacks")


def main(experiment: Path, journal: Path) -> int:
    """Play the experiment once told to; return 0 whatever chaoslib makes of it."""
    # A shell starts what is to run in the background with it ignored, and we are ended by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    document = yaml.safe_load(experiment.read_text(encoding="utf-8"))
    keep_experiment_secrets(document)
    say("ready")
    if not sys.stdin.readline():
        return 0
    teller = _Teller()
    try:
        run_experiment(
            document,
            settings={"runtime": {"rollbacks": {"strategy": "always"}}},
            strategy=Strategy.BEFORE_METHOD,
            event_handlers=[teller],
        )
    finally:
        shown = json.dumps(redacted_data(teller.journal), indent=2)
        journal.write_text(shown, encoding="utf-8")
        say("ended", status=teller.journal.get("status"), deviated=teller.journal.get("deviated"))
    return 0


if __name__ == "__main__":
    guard_process()
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
