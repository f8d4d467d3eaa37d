"""Sealing asks the run's own alerts, and a run fails for nothing that goes wrong there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from faultload.record import SERIES_SCHEMA, AlertState, Outcome, RunDirectory, read_alerts
from faultload.run.replay import save_alerts

_SLOS = Path(__file__).parents[3] / "slos"


class _Draft:
    """As much of a manifest as the replay looks at."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.phases = outcome, []


@pytest.mark.parametrize(
    ("outcome", "has_windows", "samples", "says"),
    [
        (Outcome.CRASHED, True, 1, "did not get to its end (crashed)"),
        (Outcome.COMPLETED, False, 1, "the project has no slos/windows.yaml"),
        (Outcome.COMPLETED, True, 0, "no series were recorded"),
        (Outcome.ABORTED, True, 1, "the run had no fault after a baseline"),
    ],
)
def test_why_nothing_was_replayed_is_in_the_record(
    tmp_path: Path, outcome: Outcome, has_windows: bool, samples: int, says: str
) -> None:
    """The table is always written: a row says why, where there is nothing else to say."""
    run = RunDirectory.create(tmp_path, "run")
    shutil.copy(_SLOS / "chat.yaml", run.slos)
    if has_windows:
        shutil.copy(_SLOS / "windows.yaml", run.windows)
    series = pd.DataFrame([("up", "{}", 1.0, 1.0)] * samples, columns=SERIES_SCHEMA.names)
    save_alerts(run, _Draft(outcome), series)  # type: ignore[arg-type]
    alerts = read_alerts(run.alerts)

    assert alerts is not None
    assert alerts["state"].tolist() == [AlertState.NOT_REPLAYED]
    assert says in alerts["why"].iloc[0]
