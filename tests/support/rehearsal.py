"""A whole run in virtual time: our own code, with platform, load and chaos child played in process.

The load answers every request in time, whatever happens to the platform: what is rehearsed is the
harness. Rows, journal, state and record are real files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from clock import Clock
from memory import Platform, replica
from projects import Project, make_project

from faultload.errors import MissingError
from faultload.faults import FAULTS, FaultSession
from faultload.load import LoadGenerator
from faultload.load.plan import EndNote
from faultload.record import InjectionJournal
from faultload.run.flow import RunResult, run_experiment
from faultload.run.plan import RunPlan, prepare
from faultload.run.progress import Progress, Silent
from faultload.spec import Catalogue

PHASES = {"warmup_s": 1, "baseline_s": 4, "hold_s": 2, "recovery_s": 3}
_TTFT_S, _LENGTH_S = 0.05, 0.2
_TIMED = ("faults.proofs", "faults.session", "load.generator", "run.events", "run.supervisor")


def hang(document: dict[str, Any]) -> None:
    """Turn replica-loss into a fault that stays until it is reverted."""
    document["method"][0]["provider"]["func"] = "hang_replica"
    document["extensions"][0]["requires"] = ["hang-replica"]
    document["extensions"][0]["expects"] = {}


class Load(LoadGenerator):
    """A load whose one worker is played by `poll`."""

    clock: Clock
    _writes = True

    def _spawn(self, name: str, options: list[str], orders: dict[str, str]) -> None:
        self._trace_rows, self._writes = pq.read_table(self._trace).to_pylist(), True

    def wait_ready(self, timeout_s: float) -> None:
        """It is ready at once."""

    def alive(self) -> bool:
        return self._writes

    def go(self, t0_unix_s: float) -> None:
        super().go(t0_unix_s)
        self._zero_s = t0_unix_s - self.clock.ahead_s

    def poll(self) -> list[dict[str, Any]]:
        """Write the rows of the requests that have ended by now, and read what is there."""
        now_s = self.clock.monotonic() - self._zero_s
        ended = [row for row in self._trace_rows if row["due_s"] + _LENGTH_S <= now_s]
        self._trace_rows = self._trace_rows[len(ended) :]
        try:
            with self._plans[0].rows_path.open("ab") as file:
                for row in ended:
                    file.write(orjson.dumps(_row(row)) + b"\n")
        except OSError:  # as a worker does that cannot write
            self._writes = False
        return super().poll()

    def stop(self, grace_s: float) -> None:
        """Leave the note that a worker leaves when it ends in order."""
        super().stop(grace_s)
        (plan,) = self._plans
        if self._writes and plan.rows_path.exists() and not plan.end_path.exists():
            with suppress(OSError):
                plan.end_path.write_text(EndNote.of(plan.rows_path).model_dump_json())


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a request that was answered well."""
    due_s, tokens = row["due_s"], row["output_tokens"]
    return {
        **{key: row[key] for key in ("index", "due_s", "tier", "model", "tenant", "session")},
        "sent_s": due_s,
        "first_token_s": due_s + _TTFT_S,
        "last_token_s": due_s + _LENGTH_S,
        "end_s": due_s + _LENGTH_S,
        "status": "ok",
        "http_status": 200,
        "finish_reason": "stop",
        "prompt_tokens": row["prompt_tokens"],
        "output_tokens_asked": tokens,
        "output_tokens": tokens,
        "tokens_duplicated": 0,
        "tokens_missing": 0,
        "gap_s_max": 0.01,
        "served_by": "a",
        "retries": 0,
        "migrations": 0,
        "connection_reused": True,
        "worker": 0,
        "error": "",
    }


@dataclass
class Child:
    """The chaos child, played in process: plans, injects, holds and reverts.

    Attributes:
        stage: where it plays.
        journal: the injection journal.
        obeys: reverts when it is ended early, as the real one does if it can.
    """

    stage: Stage
    journal: InjectionJournal
    obeys: bool = True
    _since_s: float | None = None
    _code: int | None = None
    _said: list[dict[str, Any]] = field(default_factory=list)

    def release(self) -> None:
        self._since_s = self.stage.clock.monotonic()
        for name, intent in self.stage.plan.faults:
            fault = FAULTS[name](self.stage.platform, intent, self.stage.plan.limits)
            self._try(name, partial(self._session().apply, fault))

    def answers(self) -> list[dict[str, Any]]:
        said, self._said = self._said, []
        return said

    def playing_s(self) -> float:
        return self.stage.clock.monotonic() - (self._since_s or 0.0)

    def exit_code(self) -> int | None:
        if self._code is None and self.playing_s() >= self.stage.plan.hold_s:
            self._revert()
        return self._code

    def last_words(self) -> str:
        return "its last words"

    def interrupt(self) -> None:
        pass  # `end` follows at once

    def end(self, *_: object) -> None:
        if self._code is None and self._since_s is not None and self.obeys:
            self._revert()
        self._code = 0

    def _revert(self) -> None:
        self._try("revert", self._session().revert_all)
        self._code = 0

    def _session(self) -> FaultSession:
        return FaultSession(self.stage.platform, self.journal)

    def _try(self, name: str, act: Callable[[], object]) -> None:
        """Chaos Toolkit goes on after what fails, and says so."""
        answer: dict[str, Any] = {"kind": "activity_completed", "name": name}
        try:
            answer["output"] = act()
        except Exception as error:  # noqa: BLE001
            answer["problem"] = f"{type(error).__name__}: {error}"
        self._said.append(answer)


class _NoPrometheus:
    def __init__(self, url: str, **_: object) -> None:
        raise MissingError(f"{url}: nobody is there")


@dataclass
class Stage:
    """Everything that a rehearsal needs.

    Attributes:
        project: its files.
        plan: what it does.
        clock: its time.
        platform: what it breaks.
        obeys: as in `Child`.
    """

    project: Project
    plan: RunPlan
    clock: Clock
    platform: Platform
    obeys: bool = True

    def run(self, progress: Progress | None = None) -> RunResult:
        """Play it."""
        return run_experiment(self.plan, self.platform, progress or Silent())

    def anew(self) -> None:
        """Give it a platform that nobody has touched."""
        self.platform = four_engines()

    @property
    def is_whole(self) -> bool:
        """Every engine is ready."""
        return all(one.ready for one in self.platform.replicas("engine"))


def four_engines() -> Platform:
    """Return a platform with two engines in each tier that the shipped one has."""
    fast = [replica(f"fast-{n}") for n in range(2)]
    return Platform(*fast, *(replica(f"reasoning-{n}", tier="reasoning") for n in range(2)))


def rehearsal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Set a stage below `folder`: its state in `state`, its reports in `reports`."""
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    project, clock = make_project(folder / "project", PHASES), Clock()
    name = project.experiment("hang", hang)
    plan = prepare(Catalogue(project.path), name, "local", reports=folder / "reports")
    stage = Stage(project, plan, clock, four_engines())
    for module in _TIMED:
        monkeypatch.setattr(f"faultload.{module}.time", clock)
    monkeypatch.setattr("faultload.run.plan.FAULT_TIMEOUT_S", 10.0)  # the load lasts as much longer
    monkeypatch.setattr(Load, "clock", clock, raising=False)
    monkeypatch.setattr("faultload.run.supervisor.LoadGenerator", Load)
    monkeypatch.setattr("faultload.run.sealing.PrometheusReader", _NoPrometheus)
    monkeypatch.setattr("faultload.faults.session.attach", lambda *_, **__: stage.platform)

    def child(experiment: Path, journal: Path, session: Path, logs: Path) -> Child:
        injections = InjectionJournal(session.parent / "injections.jsonl")
        return Child(stage, injections, stage.obeys)

    monkeypatch.setattr("faultload.run.supervisor.ChaosChild", child)
    return stage
