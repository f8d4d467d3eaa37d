"""A fault-free run: when its load is over, what one that fails leaves, and what its record says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loads import workload

from faultload.errors import InvalidRunError
from faultload.record import LoadSummary, Outcome, RunDirectory
from faultload.run import fault_free
from faultload.run.events import RunClock
from faultload.run.fault_free import FaultFreeRun, Played
from faultload.run.progress import Silent
from faultload.spec.target import LoadWorkers

END_S = 0.05
PATIENCE_S = 0.2
SUMMARY = LoadSummary(
    requests_due=2, requests_sent=2, rows=2, lag_s_p99=0.0, cpu_share_max=0.1, workers=1
)


class Load:
    """Stands in for the load generator: says row by row, and dies when told to."""

    def __init__(self, due_s: Sequence[float] = (), *, dies: bool = False) -> None:
        """Have a row come at each look, with these due times."""
        self._due_s, self._dies = list(due_s), dies
        self.looks, self.calls = 0, list[str]()

    def __call__(self, *_: object, **__: object) -> Load:
        """Be made, whatever the arguments are."""
        return self

    def __getattr__(self, name: str) -> Any:
        """Note the call, and return what a load has at its end."""

        def call(*_: object) -> LoadSummary:
            self.calls.append(name)
            return SUMMARY

        return call

    def poll(self) -> list[dict[str, Any]]:
        """Return the next row."""
        self.looks += 1
        due_s = [self._due_s.pop(0)] if self._due_s else []
        row = {"status": "ok", "first_token_s": None, "end_s": 0.0}
        return [row | {"due_s": one} for one in due_s]

    def alive(self) -> bool:
        """Tell whether it is to live."""
        return not self._dies

    def last_words(self) -> str:
        """Return what it died of."""
        return "locust-0: killed"


@pytest.fixture
def run(tmp_path: Path) -> FaultFreeRun:
    """Return a run that takes next to no time."""
    directory = RunDirectory.create(tmp_path, "one")
    (directory.path / "work").mkdir()
    trace = directory.record / "trace.parquet"
    trace.write_bytes(b"trace")
    return FaultFreeRun(
        directory=directory,
        title="one",
        target="here",
        scenario=workload(),
        slos=[],
        seed=7,
        repeat="faultload gate",
        trace=trace,
        url="http://127.0.0.1:1",
        workers=LoadWorkers(),
        ca=None,
        warmup_s=0.01,
        end_s=END_S,
    )


def played(
    run: FaultFreeRun, load: Load, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> tuple[Played, float]:
    """Play a load until two answers that were due in the run have come; return how long it took."""
    monkeypatch.setattr(fault_free, "LoadGenerator", load)
    monkeypatch.setattr(fault_free, "_LEAD_S", 0.0)
    monkeypatch.setattr(fault_free, "_TICK_S", END_S / 2)
    began_s = time.monotonic()
    found = run.play(Silent(), 2, lambda row: row["due_s"] < END_S, **more)
    return found, time.monotonic() - began_s


def test_load_goes_on_until_the_awaited_answers_have_come(
    run: FaultFreeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers to what is not measured are none of them, however many there are."""
    load = Load([0.0, END_S, END_S, END_S, 0.0])

    found, _ = played(run, load, monkeypatch)

    assert load.looks == 5
    assert load.calls[-2:] == ["collect", "stop"]
    assert found.load == SUMMARY
    assert not (run.directory.path / "work").exists()


def test_load_does_not_wait_longer_than_a_client(
    run: FaultFreeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that never comes is one that timed out, and is in the rows as that."""
    timeouts = run.scenario.timeouts.model_copy(update={"total_s": PATIENCE_S})
    scenario = run.scenario.model_copy(update={"timeouts": timeouts})

    _, took_s = played(replace(run, scenario=scenario), Load([0.0]), monkeypatch)

    assert END_S + PATIENCE_S <= took_s < 20 * (END_S + PATIENCE_S)


def test_load_that_dies_is_said_and_ended(
    run: FaultFreeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its last words; load, collector and working files are gone with it."""
    load, closed = Load(dies=True), list[bool]()
    collector = SimpleNamespace(close=lambda: closed.append(True))

    with pytest.raises(InvalidRunError, match="died; it last said: locust-0: killed"):
        played(run, load, monkeypatch, collecting=lambda _: collector)

    assert load.calls == ["start", "wait_ready", "go", "stop"]
    assert closed == [True]
    assert not (run.directory.path / "work").exists()


def test_collector_outlives_a_load_that_ended_well(
    run: FaultFreeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has is written when the record is sealed."""
    closed = list[bool]()
    collector: Any = SimpleNamespace(close=lambda: closed.append(True))

    found, _ = played(run, Load([0.0, 0.0]), monkeypatch, collecting=lambda _: collector)

    assert found.collector is collector
    assert closed == []


def test_manifest_says_what_was_measured_or_that_nothing_was(run: FaultFreeRun) -> None:
    """A load that failed has no phases and no summary: its record claims no second of either."""
    good = run.manifest(Played(SUMMARY, RunClock(1_700_000_000.0, 5.0), drift_s=0.25), "")
    bad = run.manifest(None, "the load client died")

    assert (good.outcome, good.reason, good.load) == (Outcome.COMPLETED, "", SUMMARY)
    assert [(one.start_s, one.end_s) for one in good.phases] == [(0.0, 0.01), (0.01, END_S)]
    assert (good.clock.t0_unix_s, good.clock.wall_drift_s) == (1_700_000_000.0, 0.25)
    assert (bad.outcome, bad.reason) == (Outcome.STOPPED, "the load client died")
    assert (bad.phases, bad.load, bad.clock.wall_drift_s) == ([], None, 0.0)
    assert (good.title, good.target, good.seed) == ("one", "here", 7)
    assert good.trace_sha256 == bad.trace_sha256
    assert set(good.versions) == {"python", "locust", "numpy", "pandas", "pyarrow", "scipy"}
