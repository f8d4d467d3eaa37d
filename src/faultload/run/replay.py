"""Step 7's last part: the shipped alerts replayed on what a run recorded, into its record."""

from __future__ import annotations

import pandas as pd

from faultload.errors import FaultloadError
from faultload.measure.replay import nothing_replayed, replay_alerts
from faultload.record import ALERT_SCHEMA, Manifest, Outcome, RunDirectory, write_table
from faultload.secrecy import redacted
from faultload.spec import load_slos
from faultload.spec.windows import load_windows


def save_alerts(directory: RunDirectory, draft: Manifest, series: pd.DataFrame) -> None:
    """Write alerts.parquet from the record's own SLOs, windows and series; never fails a run.

    Args:
        directory: the run's, its inputs saved.
        draft: its manifest.
        series: its raw samples.
    """
    alerts = _replayed(directory, draft, series)
    alerts["why"] = alerts["why"].map(redacted)
    write_table(alerts, ALERT_SCHEMA, directory.alerts)


def _replayed(directory: RunDirectory, draft: Manifest, series: pd.DataFrame) -> pd.DataFrame:
    if draft.outcome not in (Outcome.COMPLETED, Outcome.ABORTED):
        return nothing_replayed(f"the run did not get to its end ({draft.outcome})")
    if not directory.windows.exists():
        return nothing_replayed("the project has no slos/windows.yaml")
    if series.empty:
        return nothing_replayed("no series were recorded")
    try:
        slos, windows = load_slos(directory.slos), load_windows(directory.windows)
    except FaultloadError as error:
        return nothing_replayed(str(error))
    return replay_alerts(series, slos, windows, draft.phases, directory.path)
