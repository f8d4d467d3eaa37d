"""Everything observed in one run, saved before anyone judges it.

The runner writes a record; judge and report only read it, so any stored run can be judged again
against other SLOs with no cluster in sight. Times are seconds since the run's start (`t0`).
"""

from faultload.record.directory import RunDirectory
from faultload.record.injections import InjectionEntry, InjectionJournal, InjectionStep
from faultload.record.lines import Tail
from faultload.record.manifest import (
    LoadSummary,
    Manifest,
    Outcome,
    Phase,
    PhaseName,
    WorkerHealth,
)
from faultload.record.tables import (
    ADDED_COLUMNS,
    ALERT_SCHEMA,
    JUDGED_COLUMNS,
    REQUEST_SCHEMA,
    SERIES_SCHEMA,
    AlertState,
    RequestStatus,
    read_alerts,
    read_live_rows,
    read_requests,
    read_series,
    write_table,
)

__all__ = [
    "ADDED_COLUMNS",
    "ALERT_SCHEMA",
    "JUDGED_COLUMNS",
    "REQUEST_SCHEMA",
    "SERIES_SCHEMA",
    "AlertState",
    "InjectionEntry",
    "InjectionJournal",
    "InjectionStep",
    "LoadSummary",
    "Manifest",
    "Outcome",
    "Phase",
    "PhaseName",
    "RequestStatus",
    "RunDirectory",
    "Tail",
    "WorkerHealth",
    "read_alerts",
    "read_live_rows",
    "read_requests",
    "read_series",
    "write_table",
]
