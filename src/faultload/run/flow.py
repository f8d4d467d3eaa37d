"""The one flow."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from faultload.errors import (
    AbortedError,
    ExitCode,
    FaultloadError,
    Interrupted,
    MissingError,
    NotSteadyError,
    RefusedError,
    SkippedError,
)
from faultload.judge import LOAD_CLIENT, Judgement, Verdict
from faultload.record import Outcome, PhaseName, RunDirectory
from faultload.run.guards import admit
from faultload.run.judging import judge_and_report
from faultload.run.plan import RunPlan
from faultload.run.progress import Progress
from faultload.run.room import as_invalid, reporting, sealing
from faultload.run.signals import SignalGuard
from faultload.run.supervisor import Supervisor
from faultload.targets import Target

_EXIT_CODES = {
    Verdict.PASS: ExitCode.PASS,
    Verdict.FAIL: ExitCode.FAIL,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Verdict.INVALID: ExitCode.INVALID,
}


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        directory: the run's.
        judgement: its verdict and reasons.
        reports: files written.
        error: what ended it early, a defect included; None: nothing did.
    """

    directory: RunDirectory
    judgement: Judgement
    reports: list[Path]
    error: BaseException | None

    @property
    def defect(self) -> BaseException | None:
        """What nobody foresaw, and somebody must be told of with all it says; None: nothing."""
        return None if isinstance(self.error, FaultloadError | Interrupted) else self.error

    @property
    def spoilt(self) -> str:
        """How our own load client was late, so that the run tells nothing; "": it was not.

        Another try may come to a verdict. Not so where something else ended the run: what a stop
        condition forbids is not done again, and what fails of itself is not tried until it passes.
        Late requests alone may break the steady state.
        """
        if not (self.error is None or isinstance(self.error, NotSteadyError)):
            return ""
        found = (one.text for one in self.judgement.findings if one.subject == LOAD_CLIENT)
        return next(found, "")

    @property
    def exit_code(self) -> int:
        """The verdict's code, unless a signal, a refusal or a defect ended the run."""
        if self.defect is not None:
            return int(ExitCode.DEFECT)
        if isinstance(self.error, Interrupted | RefusedError):
            return int(self.error.exit_code)
        return int(_EXIT_CODES[self.judgement.verdict])


def run_experiment(
    plan: RunPlan, target: Target, progress: Progress, signals: SignalGuard | None = None
) -> RunResult:
    """Run one experiment on one target.

    1. Load and validate experiment, scenario, SLOs and target: `plan`, made by `prepare`.
    2. Ask the guards, then the target: capabilities, rights, lock, victims, blast radius; else
       skip or refuse.
    3. Start the load, warm up, measure the baseline.
    4. Check the steady state; broken means invalid, and nothing is injected.
    5. Plan, journal, inject, verify, hold, revert, verify that it is gone: the last two always.
    6. Measure the recovery.
    7. Seal the record.
    8. Judge it.
    9. Report.

    A signal, a stop condition or a person's `faultload stop` ends steps 2 to 6; what follows is
    short and is not disturbed. So does an error that nobody foresaw: its run is recorded and judged
    too, and the result has it.

    Raises:
        SkippedError: the target lacks a capability.
        MissingError: the target is gone, or we lack rights on it; names each.
        RefusedError: a guard is against it, the target is locked, or a fault is in force there.
        InvalidRunError: the record could not be sealed; the harm is taken back as far as it could.
    """
    admit(plan, datetime.now(UTC))
    missing = sorted(plan.capabilities - target.capabilities)
    if missing:
        raise SkippedError(f"skipped: target {plan.target.name!r} lacks {', '.join(missing)}")
    forbidden = target.missing_rights(plan.capabilities)
    if forbidden:
        raise MissingError(f"target {plan.target.name!r} does not let us: {'; '.join(forbidden)}")
    signals = signals or SignalGuard()
    error: BaseException | None = None
    with signals.installed(), Supervisor(plan, target, progress) as run:
        try:
            with signals.listening():
                run.survey()
                run.start_load()
                run.pass_time(PhaseName.WARMUP, plan.warmup_s)
                run.pass_time(PhaseName.BASELINE, plan.baseline_s)
                run.check_steady_state()
                run.break_it()
                run.pass_time(PhaseName.RECOVERY, plan.recovery_s)
                run.await_last_answers()
        except BaseException as problem:  # noqa: BLE001  # whatever it was, the harm goes first
            error = as_invalid(problem)
            with contextlib.suppress(Exception):  # what keeps us from saying so is met again
                run.give_up(str(error))
        reason = str(error or "")
        try:
            run.ensure_reverted()
        except Exception as problem:  # noqa: BLE001  # what is known is sealed all the same
            error = as_invalid(problem)
            reason = f"{error} (before that: {reason})" if reason else str(error)
        with sealing(run.directory, error):
            run.seal(_outcome(error), reason)
        with reporting(run.directory, error):
            judgement, reports = judge_and_report(run.directory)
    if error is None and signals.received is not None:
        error = Interrupted(signals.received)
    return RunResult(run.directory, judgement, reports, error)


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return Outcome.COMPLETED
    if isinstance(error, AbortedError):
        return Outcome.ABORTED
    return Outcome.INTERRUPTED if isinstance(error, Interrupted) else Outcome.STOPPED
