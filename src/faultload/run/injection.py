"""Step 5: the chaos child plays the method and its rollbacks while we watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from faultload.errors import FaultError
from faultload.faults import FAULTS, Plan
from faultload.record import (
    InjectionEntry,
    InjectionJournal,
    InjectionStep,
    Phase,
    PhaseName,
)
from faultload.run.chaos import ChaosChild
from faultload.run.plan import RunPlan
from faultload.targets import Target


def preview(plan: RunPlan, target: Target) -> list[Plan]:
    """Resolve the victims of every fault of the method; nothing is touched.

    Raises:
        FaultError: a fault has nothing to hit, or the method has no fault.
        RefusedError: it would hit more than the blast radius allows.
    """
    if not plan.faults:
        raise FaultError("the method holds no fault: nothing would be broken")
    limits, planned = plan.limits, list[Plan]()
    for fault, intent in plan.faults:
        planned.append(FAULTS[fault](target, intent, limits).plan())
        limits = limits.after(planned[-1].hit)
    return planned


def fault_phase(entries: Sequence[InjectionEntry], t0_unix_s: float, now_s: float) -> Phase | None:
    """Return the fault phase as a journal has it; None: no harm was begun.

    Args:
        entries: the injection journal.
        t0_unix_s: the run's start.
        now_s: the phase's end where the fault was never proven gone.
    """
    began = [e.time_unix_s for e in entries if e.step is InjectionStep.INJECTING]
    if not began:
        return None
    gone = [e.time_unix_s for e in entries if e.step is InjectionStep.VERIFIED_REVERTED]
    end_s = max(gone) - t0_unix_s if gone else now_s
    return Phase(name=PhaseName.FAULT, start_s=min(began) - t0_unix_s, end_s=end_s)


def not_after(phase: Phase, now_s: float) -> Phase:
    """Return the phase as far as it can be true: what was journalled has happened by now.

    A wall clock that stepped forward puts it into the future, for which nobody must wait.
    """
    ends = {"start_s": min(phase.start_s, now_s), "end_s": min(phase.end_s, now_s)}
    return phase.model_copy(update=ends)


def with_fault(phases: Sequence[Phase], fault: Phase) -> list[Phase]:
    """Return the phases with the fault's among them; the one it interrupts ends where it begins."""
    others = [phase for phase in phases if phase.name is not PhaseName.FAULT]
    # A wall clock that stepped back would put the fault before everything; the judge sees the step.
    start_s = max(fault.start_s, others[0].start_s)
    fault = fault.model_copy(update={"start_s": start_s, "end_s": max(fault.end_s, start_s)})
    *earlier, found = [phase for phase in others if phase.start_s <= start_s]
    later = [phase for phase in others if phase.start_s > start_s]
    return [*earlier, found.model_copy(update={"end_s": start_s}), fault, *later]


class Injection:
    """One play of the method."""

    def __init__(
        self, child: ChaosChild, journal: InjectionJournal, tell: Callable[..., None], faults: int
    ) -> None:
        """Follow `child`; `tell(source, kind, text, **data)` writes an event.

        The method has so many `faults`, and each is to be proven: one whose plan was refused is
        not even in the journal.
        """
        self._child, self._journal, self._tell, self._faults = child, journal, tell, faults
        self._problems: list[str] = []

    def play(self, hold_s: float, steps_s_max: float, watch: Callable[[float], None]) -> None:
        """Release the child and watch until it ends.

        Args:
            hold_s: how long the method holds the fault.
            steps_s_max: longest time the faults' own steps may take beyond the hold.
            watch: called often with the seconds left of the hold; may raise to end the run.

        Raises:
            FaultError: a fault was not proven, one is still in force, or a bound was passed.
        """
        self._child.release()
        while self._child.exit_code() is None:
            self.hear()
            left_s = hold_s - self._child.playing_s()
            if left_s < -steps_s_max:
                steps = [entry.step.value for entry in self._journal.entries()]
                raise FaultError(
                    f"the fault's steps took over {steps_s_max:g} s beyond its hold;"
                    f" the journal's last step: {steps[-1] if steps else 'none'}"
                )
            watch(left_s)
        self.hear()
        self._insist_on_proof()

    def hear(self) -> None:
        """Pass on what the child said since last time."""
        for answer in self._child.answers():
            kind, name = str(answer.get("kind", "")), str(answer.get("name") or "")
            if kind != "activity_completed":
                self._tell("fault", kind, f"{kind.replace('_', ' ')} {name}".strip())
                continue
            problem, output = _plain(answer.get("problem")), answer.get("output")
            if problem:
                self._problems.append(f"{name}: {problem}")
            seen = "; ".join(
                str(part["text"])
                for part in (output if isinstance(output, list) else [output])
                if isinstance(part, dict) and "text" in part
            )
            text = problem or seen or f"{answer.get('status')}, answered {output!r}"
            self._tell("fault", kind, f"{name}: {text}", answer=answer)

    def _insist_on_proof(self) -> None:
        entries = self._journal.entries()
        failed = next((e for e in entries if e.step is InjectionStep.FAILED), None)
        if failed is not None:
            raise FaultError(f"{failed.fault}: {failed.problem}")
        killed = self._killed(entries[-1].step.value if entries else "none")
        proven = len({e.injection_id for e in entries if e.step is InjectionStep.VERIFIED})
        if proven < self._faults:
            said = killed or "; ".join(self._problems) or self._child.last_words()
            some = f"only {proven} of {self._faults} faults were" if proven else "no fault was"
            raise FaultError(f"{some} injected: {said}")
        if self._journal.unreverted():
            why = killed or "; ".join(self._problems) or "it has no rollback?"
            raise FaultError(f"the method ended with its fault still in force: {why}")

    def _killed(self, last: str) -> str:
        """Return which signal ended the child, and at which step of the journal; "": none did."""
        code = self._child.exit_code() or 0
        if code >= 0:
            return ""
        return f"the chaos process was ended by signal {-code}; the journal's last step: {last}"


def _plain(problem: Any) -> str:
    """Return chaoslib's text of an exception without the class names around it."""
    text = str(problem or "")
    for prefix in ("chaoslib.exceptions.ActivityFailed: ", "faultload.errors."):
        text = text.removeprefix(prefix)
    return text
