"""The manifest: what ran, with what, when, and the SHA-256 of everything else in the record."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class PhaseName(StrEnum):
    """The parts of a run, in order."""

    WARMUP = "warmup"
    BASELINE = "baseline"
    FAULT = "fault"
    """From the first act of harm until the fault is proven gone."""
    RECOVERY = "recovery"


class Outcome(StrEnum):
    """How the run itself ended. Not the verdict."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    """The run found that it could not tell what happens, and ended early."""
    ABORTED = "aborted"
    """A stop condition ended it early."""
    INTERRUPTED = "interrupted"
    """A person or a signal ended it."""
    CRASHED = "crashed"
    """The harness died; `faultload recover` sealed the record."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(_Model):
    """One part of the run, in seconds since its start; `end_s` is not included."""

    name: PhaseName
    start_s: float
    end_s: float


class WorkerHealth(_Model):
    """What one load worker saw of itself. None: it was not measured."""

    worker: int
    requests_sent: int
    lag_s_p50: float | None
    """Of sent minus due."""
    lag_s_p99: float | None
    lag_s_max: float | None
    cpu_share_mean: float | None
    """Of one core, 0-1."""
    cpu_share_max: float | None
    """Over a second."""
    stall_s_max: float | None
    """Longest time for which its event loop stood still."""
    stalls: int
    """How often it stood still for more than 50 ms,"""
    stalled_share: float | None
    """and the share of the run which that took, 0-1."""
    clock_step_s_max: float | None
    """Largest change, within a second, of its wall clock against its monotonic one."""
    clock_error_s: float | None
    """How far its idea of the master's clock may be off; 0 where both are on one machine."""
    streams_max: int
    """Open at one moment."""
    connections_reused_share: float | None
    """Share of its requests that found an open connection, 0-1."""
    rows_lost: int | None
    """Rows that it wrote and that are not here. None: it died before it could count them."""


class LoadSummary(_Model):
    """What the load client says about itself: whether it was the bottleneck."""

    requests_due: int
    """Due within the run, sent or not."""
    requests_sent: int
    rows: int
    """Rows written; fewer than due means that rows are lost."""
    lag_s_p99: float | None
    """Sent minus due. None: nothing was sent."""
    cpu_share_max: float | None
    """Largest share of one core used by a worker over a second, 0-1. None: not measured."""
    workers: int
    workers_lost: int = 0
    spread_s_max: float | None = None
    """Largest stall of a worker's event loop. None: not measured."""
    loop: Literal["open", "closed"] | None = None
    """Closed: users waited for their answers, so a slow platform was asked less often. None: an
    older record, which does not say."""
    lag_s_p50: float | None = None
    lag_s_max: float | None = None
    rows_lost: int | None = None
    """Rows that workers wrote and that are not here, as far as they counted them. None: nobody
    did."""
    health: list[WorkerHealth] = Field(default_factory=list)
    """One entry a worker."""


class Clock(_Model):
    """The anchor that turns seconds since the start into wall time."""

    t0_unix_s: float
    t0_monotonic_s: float
    wall_drift_s: float = 0.0
    """Wall clock minus monotonic clock at the end of the run, relative to the start."""


class Manifest(_Model):
    """`manifest.json`."""

    schema_version: Literal[1] = 1
    run_id: str
    experiment: str
    """`folder/name`."""
    title: str
    scenario: str
    slos: list[str]
    target: str
    target_fingerprint: str
    seed: int
    trace_sha256: str = ""
    repeat: str
    """The command that repeats this run."""
    faultload_version: str
    versions: dict[str, str]
    commit: str
    """Of the project that holds the experiment; "" outside git; `+` at its end: local edits."""
    clock: Clock
    phases: list[Phase]
    outcome: Outcome
    reason: str = ""
    """Why the run ended early; "" for a completed one."""
    steady_state_met: bool | None = None
    """None: never judged."""
    load: LoadSummary | None = None
    """None: no load was measured."""
    consent: dict[str, str] = Field(default_factory=dict)
    """What somebody said so that it might run: `confirmed` (the target), `game_day`."""
    platform: dict[str, Any] = Field(default_factory=dict)
    """What the target said of itself: nodes, replicas, configuration. No secrets."""
    sha256: dict[str, str] = Field(default_factory=dict)
    """Every other file of the record, by path inside it."""
