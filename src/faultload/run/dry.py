"""What a run would do, without doing it: nothing is locked, loaded or touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from faultload.errors import ExitCode, FaultError, FaultloadError, MissingError, SkippedError
from faultload.faults import FAULTS
from faultload.load import make_trace
from faultload.report.hits import pairs
from faultload.run.plan import RunPlan
from faultload.targets import Target


@dataclass(frozen=True)
class WouldHit:
    """One fault of the method, as it would be now.

    Attributes:
        fault, capability: its name, and what it needs.
        hits: whom, in words; "" when that could not be resolved.
        victims, undo: of its plan; empty when it could not be made.
        problem: why it could not; "" when it could.
    """

    fault: str
    capability: str
    hits: str = ""
    victims: list[dict[str, Any]] = field(default_factory=list)
    undo: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class DryRun:
    """What a run would do on a target as it is now.

    Attributes:
        experiment, title: the experiment's.
        target: name, kind and fingerprint.
        capabilities: what the target can do.
        missing_rights: what we would have to be allowed to do and are not, a line each.
        faults: in the method's order. Under load another replica may be the busiest.
        limits: the blast radius, the smaller of what experiment and target allow.
        phases: name → length, s. The faults' own steps take time beyond them.
        steps_s_max: the most that those steps may take.
        requests: due in the phases; None: the users of a closed loop decide.
        problems: why a run would not get as far as the fault, a line each.
        exit_code: 0, else that of the first problem.
    """

    experiment: str
    title: str
    target: dict[str, str]
    capabilities: list[str]
    missing_rights: list[str]
    faults: list[WouldHit]
    limits: dict[str, Any]
    phases: dict[str, float]
    steps_s_max: float
    requests: int | None
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
            f"  can do        {', '.join(self.capabilities)}",
            f"  rights        {'; '.join(self.missing_rights) or 'none missing'}",
            f"  limits        {_in_words(self.limits)}",
            *(line for fault in self.faults for line in _fault_lines(fault)),
            f"  phases        {lengths}: {length_s / 60:.1f} minutes, and the fault's own steps",
            f"  requests      {requests}",
            *(f"  WOULD FAIL    {problem}" for problem in self.problems),
            "  nothing was touched",
        ]


def dry_run(plan: RunPlan, target: Target) -> DryRun:
    """Ask the target what a run would ask it before anything is touched.

    What is wrong is collected and not raised, so that one look shows all of it.

    Raises:
        MissingError: the target is gone.
    """
    errors: list[FaultloadError] = []
    lacking = sorted(plan.capabilities - target.capabilities)
    if lacking:
        errors.append(SkippedError(f"target {plan.target.name!r} lacks {', '.join(lacking)}"))
    rights = list(target.missing_rights(plan.capabilities & target.capabilities))
    if rights:
        errors.append(MissingError(f"we are not allowed to: {'; '.join(rights)}"))
    if not plan.faults:
        errors.append(FaultError("the method holds no fault: nothing would be broken"))
    faults = _would_hit(plan, target, errors)
    return DryRun(
        experiment=plan.experiment.name,
        title=plan.experiment.title,
        target=asdict(target.identity),
        capabilities=sorted(target.capabilities),
        missing_rights=rights,
        faults=faults,
        limits={key: value for key, value in asdict(plan.limits).items() if key != "earlier"},
        phases={
            "warmup": plan.warmup_s,
            "baseline": plan.baseline_s,
            "hold": plan.hold_s,
            "recovery": plan.recovery_s,
        },
        steps_s_max=plan.steps_s_max,
        requests=_requests(plan),
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
        found.append(WouldHit(name, fault.capability, hits, victims, undo))
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
    return [first, f"    would hit   {fault.hits}", *victims, undone]


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
