"""One process's hold on a target and on the injection journal.

The runner hands the session to the chaos child in a file named by `FAULTLOAD_SESSION`. Without it
(stock `chaos run`) the session is that of the platform left up by `faultload platform up`.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from faultload.errors import (
    FaultError,
    FaultloadError,
    MissingError,
    TargetGoneError,
    is_machines,
    told_by_machine,
)
from faultload.faults import traffic
from faultload.faults.catalogue import FAULTS
from faultload.faults.limits import Limits, Radius, limits_of
from faultload.faults.protocol import Fault, Plan
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep
from faultload.spec.target import load_target
from faultload.targets import Target, attach, state_home

SESSION_VARIABLE = "FAULTLOAD_SESSION"

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class SessionFile:
    """What another process needs to inject, probe and revert on the same target. No secrets.

    Attributes:
        target_file: the target's YAML file.
        attachment: the target's own words for where it is.
        injections: path of the injection journal.
        rows: folder with the load's live rows; "" when no load runs.
        slos: file with the SLOs that probes may name; "" for none.
        t0_unix_s: the run's start, for the rows' times.
        seed: for the choice of victims.
        radius: component → what may be hit of it; None: what the target file allows.
        ttl_s: how long what a fault leaves on an object is ours alone to undo.
    """

    target_file: str
    attachment: dict[str, str]
    injections: str
    rows: str = ""
    slos: str = ""
    t0_unix_s: float = 0.0
    seed: int = 0
    radius: dict[str, Radius] | None = None
    ttl_s: float = 3600.0

    def write(self, path: Path) -> None:
        """Write it for another process; readable by its owner only."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)

    @classmethod
    def read(cls, path: Path) -> SessionFile:
        """Read it.

        Raises:
            MissingError: it is not there or not a session.
        """
        try:
            return _SESSION.validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise MissingError(f"{path}: not a session file: {error}") from None

    @classmethod
    def find(cls) -> SessionFile:
        """Return the session this process was started for, else that of the platform left up.

        Raises:
            MissingError: there is neither.
        """
        given = os.environ.get(SESSION_VARIABLE)
        if given:
            return cls.read(Path(given))
        left_up = sorted(state_home().glob("platforms/*/session.json"))
        if not left_up:
            raise MissingError(
                "no platform to act on; start one with: faultload platform up --load"
            )
        return cls.read(left_up[-1])

    @property
    def journal(self) -> InjectionJournal:
        """The injection journal."""
        return InjectionJournal(Path(self.injections))

    def attach(self, *, to_undo: bool = False) -> Target:
        """Return the target; `to_undo`: only to take harm back.

        Raises:
            MissingError: it is gone.
        """
        return attach(load_target(Path(self.target_file)), self.attachment, to_undo=to_undo)

    @property
    def limits(self) -> Limits:
        """What a fault may do here, beside those in force."""
        target = load_target(Path(self.target_file))
        limits = limits_of(target, self.seed, self.radius)
        for entry in self.journal.unreverted():
            limits = limits.after(entry.plan.get("hit", {}))
        return limits


class FaultSession:
    """Applies faults to one target, journalling each step before and after it."""

    def __init__(self, target: Target, journal: InjectionJournal, ttl_s: float = 3600.0) -> None:
        """Act on `target`, write to `journal`; `ttl_s` as in `SessionFile`."""
        self.target = target
        self.journal = journal
        self._ttl_s = ttl_s
        self._unwritten: OSError | None = None

    def apply(self, fault: Fault) -> dict[str, Any]:
        """Plan, journal, inject and verify; return the plan and the evidence as JSON.

        Raises:
            FaultError: a step failed; what was done is in the journal and will be reverted.
            RefusedError: the plan went over the blast radius; nothing was done.
        """
        if fault.capability not in self.target.capabilities:
            raise FaultError(f"{fault.name}: the target lacks {fault.capability}")
        injection_id = f"{fault.name}-{uuid.uuid4().hex[:8]}"
        expires_s = self.target.now_unix_s() + self._ttl_s
        plan = replace(fault.plan(), token=injection_id, expires_unix_s=expires_s)
        with self.target.under(plan.mark):
            self._write(injection_id, InjectionStep.PLANNED, fault.name, plan=plan.as_json())
            self._write(injection_id, InjectionStep.INJECTING, fault.name)
            self._step(injection_id, fault.name, "inject", lambda: fault.inject(plan))
        self._write(injection_id, InjectionStep.INJECTED, fault.name)
        evidence = self._step(injection_id, fault.name, "verify", lambda: fault.verify(plan))
        self._write(injection_id, InjectionStep.VERIFIED, fault.name, evidence=evidence.as_json())
        return {"injection_id": injection_id, "plan": plan.as_json(), **evidence.as_json()}

    def revert_all(self) -> list[dict[str, Any]]:
        """Revert everything unreverted, newest first; one failure does not stop the rest.

        All of it is taken back before any of it is proven gone: what one fault's proof waits for
        may be what another still keeps away.

        Raises:
            FaultError: after all were tried, what is still in force; or all is taken back, and the
                journal could not be told.
        """
        outcomes: list[dict[str, Any]] = []
        problems: list[str] = []
        proofs: list[tuple[str, Callable[[], dict[str, Any]]]] = []
        for entry in self.journal.unreverted():
            key = entry.injection_id
            with _noting(problems, key):
                proofs.append((key, self._revert(entry)))
        for key, prove in proofs:
            with _noting(problems, key):
                outcomes.append(prove())
        if problems:
            raise FaultError("still in force: " + "; ".join(problems))
        if self._unwritten is not None:
            raise FaultError(
                f"everything is taken back, but the journal cannot say so:"
                f" {told_by_machine(self._unwritten)}; mend that, then run: faultload recover"
            )
        return outcomes

    def _revert(self, entry: InjectionEntry) -> Callable[[], dict[str, Any]]:
        """Take one fault back; return what proves it gone."""
        fault_class = FAULTS.get(entry.fault)
        if fault_class is None:
            raise FaultError(f"this version knows no fault {entry.fault!r}")
        fault: Fault = fault_class(self.target)
        try:
            plan = Plan.from_json(entry.plan)
        except TypeError as error:
            raise FaultError(f"its plan cannot be read: {error}") from None
        name, key = entry.fault, entry.injection_id
        self._note(key, InjectionStep.REVERTING, name)
        self._step(key, name, "revert", lambda: fault.revert(plan))
        self._note(key, InjectionStep.REVERTED, name)

        def prove() -> dict[str, Any]:
            evidence = self._step(key, name, "verify_reverted", lambda: fault.verify_reverted(plan))
            self._note(key, InjectionStep.VERIFIED_REVERTED, name, evidence=evidence.as_json())
            return {"injection_id": key, **evidence.as_json()}

        return prove

    def _step(self, key: str, fault: str, step: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except FaultloadError as error:
            self._note(key, InjectionStep.FAILED, fault, problem=f"{step}: {error}")
            raise

    def _write(self, key: str, step: InjectionStep, fault: str, **more: Any) -> None:
        """Write what must be on disk before anything else is done."""
        try:
            self.journal.append(InjectionEntry(key, step, fault, time.time(), **more))
        except OSError as error:
            problem = f"{step.value} cannot be journalled: {told_by_machine(error)}"
            raise FaultError(f"{fault}: {problem}") from None

    def _note(self, key: str, step: InjectionStep, fault: str, **more: Any) -> None:
        """Write what must not keep the harm from being taken back where it cannot be written."""
        try:
            self.journal.append(InjectionEntry(key, step, fault, time.time(), **more))
        except OSError as error:
            self._unwritten = error


@contextmanager
def _noting(problems: list[str], key: str) -> Iterator[None]:
    """Add what goes wrong to `problems`: the next fault may be what does the harm."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it was, the others must be tried
        said = error if isinstance(error, FaultloadError) else repr(error)
        said = told_by_machine(error) if is_machines(error) else said
        problems.append(f"{key}: {said}")


_SESSION = TypeAdapter(SessionFile)


def revert_unreverted(session: SessionFile) -> list[dict[str, Any]]:
    """Revert what a journal holds unreverted, from any process.

    A platform that is gone took its faults with it: that is journalled as the proof. One that
    merely does not answer proves nothing.

    Raises:
        FaultError: something is still in force.
        MissingError: the platform does not answer.
    """
    journal = session.journal
    if not journal.unreverted():
        return []
    try:
        target = session.attach(to_undo=True)
        target.describe()
    except TargetGoneError as error:
        return _all_gone(journal, error)
    try:
        return FaultSession(target, journal).revert_all()
    finally:
        target.close()


def _all_gone(journal: InjectionJournal, why: TargetGoneError) -> list[dict[str, Any]]:
    outcomes, problems = list[dict[str, Any]](), list[str]()
    for entry in journal.unreverted():
        with _noting(problems, entry.injection_id):
            outcomes.append(_platform_gone(journal, entry, why))
    if problems:
        raise FaultError("not known to be gone: " + "; ".join(problems))
    return outcomes


def _platform_gone(
    journal: InjectionJournal, entry: InjectionEntry, why: TargetGoneError
) -> dict[str, Any]:
    evidence = {"text": f"the platform is gone, and the fault with it: {why}", "data": {}}
    if "senders" in entry.plan.get("undo", {}):  # they are no part of the platform
        plan = Plan.from_json(entry.plan)
        traffic.stop_all(plan)
        ended = traffic.prove_ended(plan)
        evidence = {"text": f"the platform is gone, and {ended.text}", "data": ended.data}
    journal.append(
        InjectionEntry(
            entry.injection_id,
            InjectionStep.VERIFIED_REVERTED,
            entry.fault,
            time.time(),
            evidence=evidence,
        )
    )
    return {"injection_id": entry.injection_id, **evidence}
