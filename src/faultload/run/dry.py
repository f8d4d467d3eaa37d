"""What a run would do, without doing it: nothing is locked, loaded or touched."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np

from faultload.errors import (
    ExitCode,
    FaultError,
    FaultloadError,
    MissingError,
    RefusedError,
    SkippedError,
)
from faultload.faults import FAULTS
from faultload.load import make_trace
from faultload.report.hits import pairs
from faultload.run.abort.watch import refuse_unpriced
from faultload.run.guards import Answer, ask_guards
from faultload.run.plan import RunPlan
from faultload.run.room import check_room
from faultload.run.state import refuse_if_changed, refuse_if_harmed
from faultload.targets import Target
from faultload.targets.calls import EVERY_RUN, NO_CALLS, Calls


@dataclass(frozen=True)
class WouldHit:
    """One fault of the method, as it would be now.

    Attributes:
        fault, capability: its name, and what it needs.
        hits: whom, in words; "" when that could not be resolved.
        victims, undo: of its plan; empty when it could not be made.
        calls: what would be asked of the target for it, by step.
        problem: why it could not; "" when it could.
    """

    fault: str
    capability: str
    hits: str = ""
    victims: list[dict[str, Any]] = field(default_factory=list)
    undo: dict[str, Any] = field(default_factory=dict)
    calls: Calls = NO_CALLS
    problem: str = ""


@dataclass(frozen=True)
class DryRun:
    """What a run would do on a target as it is now.

    Attributes:
        experiment, title: the experiment's.
        target: name, kind and fingerprint.
        guards: what each guard says of a run that began now.
        preflight: programs that would be asked whether it may begin, and are not.
        capabilities: what the target can do.
        missing_rights: what we would have to be allowed to do and are not, a line each.
        faults: in the method's order. Under load another replica may be the busiest.
        every_run: what is asked of the target whatever the faults are; to `inject` is its lock.
        limits: the blast radius, the smaller of what experiment and target allow.
        stop: conditions that would end the run early.
        phases: name → length, s. The faults' own steps take time beyond them.
        steps_s_max: the most that those steps may take.
        requests: due in the phases; None: the users of a closed loop decide.
        usd_per_h: what the target's GPU nodes cost, US dollars an hour; None: not known.
        usd, usd_max: the same for the phases, and with the longest the faults' steps may take.
        problems: why a run would not get as far as the fault, a line each.
        exit_code: 0, else that of the first problem.
    """

    experiment: str
    title: str
    target: dict[str, str]
    guards: list[Answer]
    preflight: list[str]
    capabilities: list[str]
    missing_rights: list[str]
    faults: list[WouldHit]
    every_run: Calls
    limits: dict[str, Any]
    stop: list[dict[str, Any]]
    phases: dict[str, float]
    steps_s_max: float
    requests: int | None
    usd_per_h: float | None
    usd: float | None
    usd_max: float | None
    problems: list[str]
    exit_code: int

    def lines(self) -> list[str]:
        """Return it in words, for a person."""
        length_s = sum(self.phases.values())
        lengths = ", ".join(f"{name} {value:g} s" for name, value in self.phases.items())
        requests = "as many as its users manage" if self.requests is None else str(self.requests)
        return [
            f"{self.experiment}: {self.title}",
            f"  target        {_pairs(self.target)}",
            *(f"  guard         {one.guard}: {one.text}" for one in self.guards if one.passed),
            *(f"  would ask     preflight {name}" for name in self.preflight),
            f"  can do        {', '.join(self.capabilities)}",
            f"  rights        {'; '.join(self.missing_rights) or 'none missing'}",
            f"  limits        {_in_words(self.limits)}",
            *(line for fault in self.faults for line in _fault_lines(fault)),
            f"  phases        {lengths}: {length_s / 60:.1f} minutes, and the fault's own steps",
            f"  at most       {(length_s + self.steps_s_max) / 60:.1f} minutes",
            f"  requests      {requests}",
            f"  GPU-dollars   {self._money()}",
            *(f"  stops at      {_pairs(one)}" for one in self.stop),
            *_calls_lines("  every run", self.every_run),
            *(f"  WOULD FAIL    {problem}" for problem in self.problems),
            "  nothing was touched",
        ]

    def _money(self) -> str:
        if self.usd_per_h is None or self.usd is None or self.usd_max is None:
            return "not known: a node's price is not in the list (faultload prices list)"
        return f"{self.usd:.2f}, at most {self.usd_max:.2f} ({self.usd_per_h:.2f} an hour)"


def dry_run(plan: RunPlan, target: Target, now: datetime) -> DryRun:
    """Ask the target what a run would ask it before anything is touched, and the guards.

    What is wrong is collected and not raised, so that one look shows all of it.

    Args:
        plan: of the run.
        target: where.
        now: aware; when the run would begin.

    Raises:
        MissingError: the target is gone.
    """
    guards = ask_guards(plan, now)
    errors: list[FaultloadError] = [RefusedError(one.text) for one in guards if not one.passed]
    lacking = sorted(plan.capabilities - target.capabilities)
    if lacking:
        errors.append(SkippedError(f"target {plan.target.name!r} lacks {', '.join(lacking)}"))
    rights = list(target.missing_rights(plan.capabilities & target.capabilities))
    if rights:
        errors.append(MissingError(f"we are not allowed to: {'; '.join(rights)}"))
    asked: list[Callable[[], None]] = [
        partial(check_room, plan.reports),
        partial(refuse_if_harmed, target.identity.fingerprint),
        partial(refuse_if_changed, target, plan.target.name),
        partial(refuse_unpriced, plan.stop, target.usd_per_h),
    ]
    for ask in asked:
        try:
            ask()
        except FaultloadError as error:
            errors.append(error)
    if not plan.faults:
        errors.append(FaultError("the method holds no fault: nothing would be broken"))
    faults = _would_hit(plan, target, errors)
    usd_per_h, length_s_max = target.usd_per_h(), plan.length_s + plan.steps_s_max
    return DryRun(
        experiment=plan.experiment.name,
        title=plan.experiment.title,
        target=asdict(target.identity),
        guards=guards,
        preflight=[f"{one.name}: {shlex.join(one.command)}" for one in plan.target.preflight],
        capabilities=sorted(target.capabilities),
        missing_rights=rights,
        faults=faults,
        every_run=target.calls(EVERY_RUN),
        limits={key: value for key, value in asdict(plan.limits).items() if key != "earlier"},
        stop=[one.model_dump(exclude_defaults=True) for one in plan.stop],
        phases={
            "warmup": plan.warmup_s,
            "baseline": plan.baseline_s,
            "hold": plan.hold_s,
            "recovery": plan.recovery_s,
        },
        steps_s_max=plan.steps_s_max,
        requests=_requests(plan),
        usd_per_h=usd_per_h,
        usd=None if usd_per_h is None else usd_per_h * plan.length_s / 3600,
        usd_max=None if usd_per_h is None else usd_per_h * length_s_max / 3600,
        problems=[str(error) for error in errors],
        exit_code=int(errors[0].exit_code if errors else ExitCode.PASS),
    )


def _would_hit(plan: RunPlan, target: Target, errors: list[FaultloadError]) -> list[WouldHit]:
    limits, found = plan.limits, list[WouldHit]()
    for name, intent in plan.faults:
        fault = FAULTS[name]
        if fault.capability not in target.capabilities:
            problem = f"the target lacks {fault.capability}"
            found.append(WouldHit(name, fault.capability, problem=problem))
            continue
        try:
            planned = fault(target, intent, limits).plan()
        except FaultloadError as error:
            errors.append(error)
            found.append(WouldHit(name, fault.capability, problem=str(error)))
            continue
        limits = limits.after(planned.hit)
        hits, victims, undo = planned.hits, planned.victims, planned.undo
        calls = target.calls(fault.capability)
        found.append(WouldHit(name, fault.capability, hits, victims, undo, calls))
    return found


def _requests(plan: RunPlan) -> int | None:
    trace = make_trace(plan.scenario, plan.length_s, plan.seed, plan.scenario_path.parent)
    due_s = trace["due_s"].to_numpy(dtype=np.float64)
    return None if len(due_s) and not np.isfinite(due_s).any() else len(due_s)


def _fault_lines(fault: WouldHit) -> list[str]:
    first = f"  fault         {fault.fault} (needs {fault.capability})"
    if fault.problem:
        return [first, f"    cannot      {fault.problem}"]
    victims = [f"    victim      {_pairs(victim)}" for victim in fault.victims]
    nothing = "nothing to take back: the platform replaces what ended"
    undone = f"    undo        {_pairs(fault.undo) or nothing}"
    calls = _calls_lines("    calls", fault.calls)
    return [first, f"    would hit   {fault.hits}", *victims, undone, *calls]


def _calls_lines(head: str, calls: Calls) -> list[str]:
    """Return a line for each step that asks something."""
    steps = {"inject": calls.inject, "verify": calls.verify, "revert": calls.revert}
    return [f"{head:<16}{name}: {'; '.join(asked)}" for name, asked in steps.items() if asked]


def _pairs(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {text}" for key, text in pairs(data))


def _in_words(limits: dict[str, Any]) -> str:
    words = [
        f"at most {limits['share_max']:.0%} of a component's ready replicas",
        *(f"{name} may be hit whole" for name in limits["expendable"]),
        *(
            f"at most {one['replicas_max']} {name}, {one['share_max']:.0%} of those ready"
            for name, one in (limits["radius"] or {}).items()
        ),
        *(f"at least {least} {name} stay ready" for name, least in limits["healthy_min"].items()),
    ]
    return ", ".join([*words, f"chosen with seed {limits['seed']}"])
