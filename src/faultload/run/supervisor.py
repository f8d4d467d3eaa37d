"""The supervisor: owns the lock, the record, the load and the chaos child of one run."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import uuid
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np

from faultload.errors import InvalidRunError, NotSteadyError, TargetGoneError
from faultload.faults import SessionFile, revert_unreverted
from faultload.load import LoadGenerator, make_trace, write_trace
from faultload.measure import Collector
from faultload.record import Outcome, Phase, PhaseName, RunDirectory
from faultload.run.abort.watch import AbortWatch, refuse_unpriced
from faultload.run.chaos import ChaosChild
from faultload.run.events import EventLog, RunClock
from faultload.run.history import save_history
from faultload.run.injection import (
    Injection,
    fault_phase,
    not_after,
    preview,
    with_fault,
)
from faultload.run.live import LiveRows
from faultload.run.plan import RunPlan
from faultload.run.preflight import ask_preflight
from faultload.run.progress import Progress
from faultload.run.room import Room, beginning, check_room
from faultload.run.sealing import begin_collecting, first_manifest, save_inputs, seal_run
from faultload.run.state import RunState, refuse_if_changed, refuse_if_harmed
from faultload.run.stopping import heed
from faultload.secrecy import private_files
from faultload.targets import Target, TargetLock, state_home

_LOAD_READY_TIMEOUT_S = 60.0
_LOAD_LEAD_S = 0.5
_LOAD_STOP_GRACE_S = 5.0
_LAST_ANSWERS_S = 4.0
_TICK_S = 0.1


class Supervisor:
    """One run in progress. Entering takes the lock and makes the record; leaving ends children."""

    def __init__(self, plan: RunPlan, target: Target, progress: Progress) -> None:
        """Nothing is touched before `__enter__`."""
        self._plan, self._target, self._progress = plan, target, progress
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = plan.experiment.name.replace("/", "-")
        self._run_id = f"{stamp}-{name}-{uuid.uuid4().hex[:4]}"
        self._clock = RunClock.starting_in(0.0)
        self._phases: list[Phase] = []
        self._live = LiveRows(plan.slos)
        self._due_s = np.empty(0)
        self._load: LoadGenerator | None = None
        self._child: ChaosChild | None = None
        self._injection: Injection | None = None
        self._aborts = AbortWatch(None, None, self.tell)
        self._collector: Collector | None = None
        self._journalled = 0
        self._steady_state_met: bool | None = None
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Take the lock and make the run's directory and state.

        Raises:
            RefusedError: another run holds the target, or a fault is in force there.
            UsageError, MissingError: there is no room to write, or no right to.
        """
        check_room(self._plan.reports)
        fingerprint = self._target.identity.fingerprint
        state = state_home() / fingerprint / "runs" / self._run_id
        directory = self._plan.reports / self._run_id
        with beginning(directory, state), contextlib.ExitStack() as held:
            held.enter_context(private_files())
            held.enter_context(TargetLock(state_home() / fingerprint, self._run_id))
            refuse_if_harmed(fingerprint)
            self._lock = held.enter_context(self._target.lock(self._run_id))
            refuse_if_changed(self._target, self._plan.target.name)
            self.directory = RunDirectory.create(self._plan.reports, self._run_id)
            self._room = Room(self.directory.path, state)
            self._work = self.directory.path / "work"
            self._work.mkdir(mode=0o700)
            self._events = EventLog(self.directory.events)
            self._state = RunState.create(fingerprint, self._run_id, self.directory.path)
            save_inputs(self._plan, self.directory)
            self._session().write(self._state.session_path)
            self._draft = first_manifest(self._plan, self._target, self._run_id, self._clock)
            save_history(self._plan, self._draft, self.directory)
            self._state.save_draft(self._draft)
            held.callback(self._end_children)
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End every child and release the lock."""
        self._held.close()

    def survey(self) -> None:
        """Resolve the victims without touching them, and ask who may veto (step 2).

        Raises:
            FaultError: there is nothing to hit.
            RefusedError: it would hit more than the blast radius allows, a stop condition could not
                be watched, or a program vetoed.
        """
        refuse_unpriced(self._plan.stop, self._target.usd_per_h)
        hit = preview(self._plan, self._target)
        for planned in hit:
            text = f"would now hit {planned.hits}"
            self.tell("harness", "preview", text, victims=planned.victims)
        ask_preflight(self._plan, self._target, hit, self._run_id, self.tell)
        heed(self._state)  # a program may have taken its time

    def start_load(self) -> None:
        """Start the load and the chaos child, and set the run's clock (step 3).

        Raises:
            InvalidRunError: the load client did not get ready.
        """
        plan, trace_path = self._plan, self.directory.record / "trace.parquet"
        # The fault's own steps take time beyond the plan, and the load must outlast them.
        length_s, beside = plan.length_s + plan.steps_s_max, plan.scenario_path.parent
        trace = make_trace(plan.scenario, length_s, plan.seed, beside)
        write_trace(trace, trace_path)
        self._due_s = trace["due_s"].to_numpy(dtype=np.float64)
        digest = hashlib.sha256(trace_path.read_bytes()).hexdigest()
        self._draft = self._draft.model_copy(update={"trace_sha256": digest})
        url = self._target.endpoints.inference_url
        self._load = LoadGenerator(
            trace_path,
            plan.scenario,
            url,
            self._work,
            self.directory.logs,
            workers=plan.target.load.workers,
            api_key_env=plan.target.load.api_key_env,
            listen=plan.target.load.listen,
            ca=plan.ca,
        )
        self._load.start()
        if plan.target.load.listen is not None:
            host = plan.target.load.listen.rpartition(":")[0]
            command = f"faultload load worker --master {host}:{self._load.port}"
            self._progress.note(f"load workers wanted ({plan.target.load.workers}): {command}")
        self._child = ChaosChild(
            self.directory.experiment,
            self.directory.journal,
            self._state.session_path,
            self.directory.logs,
        )
        self._injection = Injection(
            self._child, self._state.journal, self.tell, len(self._plan.faults)
        )
        self._load.wait_ready(_LOAD_READY_TIMEOUT_S)
        self._clock = RunClock.starting_in(_LOAD_LEAD_S)
        self._session().write(self._state.session_path)
        heed(self._state)
        self._load.go(self._clock.t0_unix_s)
        self._aborts = AbortWatch.begin(plan, self._due_s, self._target, self._clock, self.tell)
        self._held.callback(self._aborts.close)
        self._collector = begin_collecting(plan.target, self._target, self._clock)
        self.tell("load", "started", f"{plan.scenario.name} with seed {plan.seed} at {url}")

    def pass_time(self, name: PhaseName, length_s: float) -> None:
        """Let a phase go by under load.

        Raises:
            InvalidRunError: the load client died.
        """
        done = self._phases
        start_s = done[-1].end_s if done else 0.0
        self._progress.phase(name.value, length_s)
        self.tell("harness", name.value, f"{name.value} begins")
        self._note_phases([*done, Phase(name=name, start_s=start_s, end_s=start_s)])
        try:
            while (left_s := start_s + length_s - self._clock.now_s()) > 0:
                self._watch(left_s)
        finally:
            end_s = max(self._clock.now_s(), start_s)
            self._note_phases([*done, Phase(name=name, start_s=start_s, end_s=end_s)])

    def check_steady_state(self) -> None:
        """Hold the baseline against every SLO counted on client rows (step 4).

        Raises:
            NotSteadyError: it is not met; nothing was injected.
        """
        baseline = self._phases[-1]
        problems = self._live.over_budget(baseline.start_s, baseline.end_s)
        due = int(((self._due_s >= baseline.start_s) & (self._due_s < baseline.end_s)).sum())
        ended = self._live.ended_of(baseline.end_s) - self._live.ended_of(baseline.start_s)
        if ended < due / 2:
            problems.append(f"only {ended} of the {due} requests due in the baseline have ended")
        if problems:
            self._steady_state_met = False
            raise NotSteadyError(
                f"the steady state is broken before any fault: {'; '.join(problems)}."
                " Nothing was injected; look at the platform, or at the load it was given"
            )
        self.tell("harness", "steady_state", "the baseline meets every SLO")

    def break_it(self) -> None:
        """Have the chaos child inject, hold and revert (step 5).

        Raises:
            FaultError: the fault was not proven, or not proven gone.
        """
        assert self._injection is not None  # noqa: S101  # start_load made it
        self._aborts.harm_begins()
        self._progress.phase(PhaseName.FAULT.value, self._plan.hold_s)
        try:
            self._injection.play(self._plan.hold_s, self._plan.steps_s_max, self._watch)
            self._steady_state_met = True  # the child acts only after its own hypothesis held
        finally:
            self._note_fault_phase()

    def give_up(self, why: str) -> None:
        """Have the chaos child revert and the load end, and say why; waits for neither."""
        if self._child is not None:
            self._child.interrupt()
        if self._load is not None:
            self._load.begin_stop()
        self.tell("harness", "ended_early", why)
        self._progress.note(f"ending early: {why}; reverting")

    def ensure_reverted(self) -> None:
        """End the chaos child and revert what the journal holds unreverted (always).

        Raises:
            FaultError: something is still in force; its journal is kept for `faultload recover`.
        """
        try:
            if self._child is not None:
                self._child.end(self._state.journal.is_being_reverted)
        finally:
            self._revert_the_rest()

    def _revert_the_rest(self) -> None:
        try:
            for outcome in revert_unreverted(self._session()):
                self.tell("harness", "reverted", str(outcome["text"]), outcome=outcome)
            self._note_fault_phase()
            if self._injection is not None:
                self._injection.hear()
        finally:
            self._aborts.sum_up(self._state.journal.entries(), self._clock.t0_unix_s)

    def await_last_answers(self) -> None:
        """Keep the load going a moment longer, so that requests due in the run may end as they do.

        What is still open afterwards is recorded as unfinished. In a closed loop nobody knows how
        many there are, so the moment is used up.

        Raises:
            InvalidRunError: the target is gone altogether: no fault of ours does that.
        """
        end_s = self._phases[-1].end_s
        due = (self._due_s < end_s).sum() if np.isfinite(self._due_s).any() else np.inf
        until_s = self._clock.now_s() + _LAST_ANSWERS_S
        while self._live.ended_of(end_s) < due and self._clock.now_s() < until_s:
            self._watch(until_s - self._clock.now_s())
        try:
            self._target.describe()
        except TargetGoneError as error:
            raise InvalidRunError(f"the target itself went away during the run: {error}") from None

    def seal(self, outcome: Outcome, reason: str) -> None:
        """Stop the load, collect everything and seal the record (step 7)."""
        end_s = self._phases[-1].end_s if self._phases else 0.0
        if self._load is not None:
            self._load.stop(_LOAD_STOP_GRACE_S)
        drift_s = self._clock.wall_drift_s()
        draft = self._draft.model_copy(
            update={
                "clock": self._draft.clock.model_copy(update={"wall_drift_s": drift_s}),
                "outcome": outcome,
                "reason": reason,
                "steady_state_met": self._steady_state_met,
            }
        )
        if outcome is not Outcome.COMPLETED:
            with self._room.trying():  # should sealing fail, `recover` knows how it ended
                self._state.save_draft(draft)
        load, rows = self._load if self._phases else None, self.directory.requests
        collect = (lambda: load.collect(rows, end_s)) if load is not None else None
        journal, collector = self._state.journal, self._collector
        seal_run(self.directory, draft, journal, collect, self._target, end_s, collector)
        shutil.rmtree(self._work, ignore_errors=True)
        if not self._state.journal.unreverted():
            self._state.remove()

    def tell(self, source: str, kind: str, text: str, **data: Any) -> None:
        """Write an event; what a person wants to see now is shown as well."""
        # Before the load starts the run has no clock: all that happened then happened at its start.
        t_s = self._clock.now_s() if self._phases else 0.0
        with self._room.trying():
            self._events.add(t_s, source, kind, text, **data)
        if source == "fault" and kind == "activity_completed":
            self._progress.note(f"+{self._clock.now_s():.1f} s  {text}")

    def _watch(self, left_s: float) -> None:
        time.sleep(_TICK_S)
        assert self._load is not None  # noqa: S101  # nothing is watched before it
        rows = self._load.poll()
        self._live.add(rows)
        self._aborts.look(self._clock.now_s(), rows)
        heed(self._state)
        if self._lock.problem:
            raise InvalidRunError(f"our hold on the target is lost: {self._lock.problem}")
        if problem := self._room.problem:
            raise InvalidRunError(problem)
        self._progress.tick(left_s, self._live.stats(self._clock.now_s()))
        if not self._load.alive():
            raise InvalidRunError(
                f"the load client died; its last words: {self._load.last_words()}."
                " Without load there is nothing to judge"
            )

    def _note_fault_phase(self) -> None:
        """The fault phase is what the journal says it was, not when we asked for it."""
        entries = self._state.journal.entries()
        if len(entries) == self._journalled:
            return
        self._journalled, now_s = len(entries), self._clock.now_s()
        fault = fault_phase(entries, self._clock.t0_unix_s, now_s)
        if fault is not None and self._phases:
            self._note_phases(with_fault(self._phases, not_after(fault, now_s)))

    def _note_phases(self, phases: list[Phase]) -> None:
        self._phases = phases
        clock = self._draft.clock.model_copy(
            update={
                "t0_unix_s": self._clock.t0_unix_s,
                "t0_monotonic_s": self._clock.t0_monotonic_s,
            }
        )
        self._draft = self._draft.model_copy(
            update={
                "phases": phases,
                "clock": clock,
                "steady_state_met": self._steady_state_met,
            }
        )
        with self._room.trying():
            self._state.save_draft(self._draft)

    def _session(self) -> SessionFile:
        radius = self._plan.limits.radius
        return SessionFile(
            target_file=str(self.directory.target.resolve()),
            attachment=dict(self._target.attachment()),
            injections=str(self._state.journal.path),
            rows=str(self._work.resolve()),
            slos=str(self.directory.slos.resolve()),
            t0_unix_s=self._clock.t0_unix_s,
            seed=self._plan.seed,
            radius=None if radius is None else dict(radius),
            ttl_s=self._plan.length_s + self._plan.steps_s_max,
        )

    def _end_children(self) -> None:
        if self._collector is not None:
            self._collector.close()
        try:
            if self._child is not None:
                self._child.end()
        finally:
            if self._load is not None:
                self._load.stop(0.0)
