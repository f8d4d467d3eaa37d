"""Evidence as a sealed record on disk, to be judged as any stored run is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from faultload.judge import Evidence
from faultload.record import (
    REQUEST_SCHEMA,
    SERIES_SCHEMA,
    Manifest,
    RunDirectory,
    write_table,
)
from faultload.record.manifest import Clock

_ROOT = Path(__file__).parents[2]


def store(folder: Path, evidence: Evidence, run_id: str = "stored") -> RunDirectory:
    """Write a record of the demo's experiment that holds this evidence, and seal it."""
    run = RunDirectory.create(folder, run_id)
    shutil.copy(_ROOT / "experiments/engine/replica-loss.yaml", run.experiment)
    shutil.copy(_ROOT / "slos/chat.yaml", run.slos)
    shutil.copy(_ROOT / "targets/local.yaml", run.target)
    shutil.copy(_ROOT / "scenarios/chat-steady.yaml", run.scenario)
    write_table(evidence.requests, REQUEST_SCHEMA, run.requests)
    write_table(pd.DataFrame(columns=SERIES_SCHEMA.names), SERIES_SCHEMA, run.series)
    for entry in evidence.injections:
        run.injections.append(entry)
    run.events.write_text("", encoding="utf-8")
    run.seal(
        Manifest(
            run_id=run_id,
            experiment="engine/replica-loss",
            title="stored",
            scenario="chat-steady",
            slos=["chat"],
            target="local",
            target_fingerprint="local",
            seed=1,
            repeat="",
            faultload_version="0",
            versions={},
            commit="",
            clock=Clock(t0_unix_s=evidence.t0_unix_s, t0_monotonic_s=0.0),
            phases=list(evidence.phases),
            outcome=evidence.outcome,
            steady_state_met=evidence.steady_state_met,
            load=evidence.load,
        )
    )
    return run
