"""A gate judged from its directory alone: the same looks in the same order, and no platform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from faultload.errors import SpecError
from faultload.judge import Verdict, worst
from faultload.judge.trial import Sli, measure_trial, slis_of
from faultload.record import Outcome, read_requests
from faultload.record.gate import GateDirectory, GateManifest
from faultload.report.gate import GateReport, SliLine, meaning, write_gate_reports
from faultload.run.gate.deciding import (
    Decision,
    Look,
    Stage,
    Trial,
    decide,
    look_back,
    losses,
    spoilt,
)
from faultload.run.gate.looks import look_at
from faultload.run.gate.sides import differences
from faultload.spec import SLO, load_scenario, load_slos


def read_gate(directory: GateDirectory) -> tuple[GateManifest, list[SLO], list[Trial]]:
    """Return a gate's manifest, its SLOs, and its valid trials with their numbers.

    Raises:
        SpecError: a file is missing, damaged, or was changed since the gate was sealed.
    """
    manifest, changed = directory.manifest(), directory.tampered()
    if changed:
        raise SpecError(
            directory.path,
            "",
            f"changed since it was sealed: {', '.join(changed)}; such a gate proves nothing",
        )
    scenario, slos = load_scenario(directory.scenario), load_slos(directory.slos)
    window_s = (manifest.warmup_s, manifest.warmup_s + manifest.trial_s)
    trials = [
        Trial(
            entry,
            measure_trial(
                read_requests(directory.trial(entry.name).requests),
                slos,
                scenario.timeouts,
                window_s,
            ),
        )
        for entry in manifest.trials
        if not entry.problems
    ]
    return manifest, slos, trials


def judge_gate(directory: GateDirectory, look: Look = look_at) -> GateReport:
    """Judge a gate from what is stored.

    Raises:
        SpecError: as `read_gate`.
    """
    manifest, slos, trials = read_gate(directory)
    slis = slis_of(slos)
    rounds = {number: [t for t in trials if t.entry.round == number] for number in (1, 2)}
    seen = _look_back(manifest, rounds[1], slis, look)
    again = None
    if rounds[2]:
        failed = [sli for sli in slis if sli.name in seen.of(Verdict.FAIL)]
        again = _look_back(manifest, rounds[2], failed, look)
    decisions = decide(rounds[1], slis, seen, again, confirm=manifest.confirm)
    return _report(manifest, decisions)


def judge_and_write(
    directory: GateDirectory, look: Look = look_at
) -> tuple[GateReport, list[Path]]:
    """Judge a gate and write its reports beside it; errors as in `judge_gate`."""
    report = judge_gate(directory, look)
    return report, write_gate_reports(report, directory.path)


def _look_back(
    manifest: GateManifest, trials: Sequence[Trial], slis: Sequence[Sli], look: Look
) -> Stage:
    return look_back(
        trials,
        slis,
        look,
        upto=_complete(manifest, trials),
        stages=len(manifest.rounds),
        history=manifest.history,
    )


def _complete(manifest: GateManifest, trials: Sequence[Trial]) -> int:
    """Return up to which stage every trial is there."""
    needed = [(side, trace) for side in manifest.sides for trace in manifest.traces]
    for stage, rounds in enumerate(manifest.rounds, start=1):
        here = Counter((t.entry.side, t.entry.trace) for t in trials if t.entry.stage == stage)
        if any(here[one] < rounds for one in needed):
            return stage - 1
    return len(manifest.rounds)


def _report(manifest: GateManifest, decisions: Sequence[Decision]) -> GateReport:
    verdict = worst(one.verdict for one in decisions)
    counted = [one.sli.name for one in decisions if one.verdict is verdict]
    reason = f"{meaning(verdict)} ({', '.join(counted)})" if verdict is not Verdict.PASS else ""
    reason = reason or meaning(verdict)
    if problem := spoilt(manifest.trials) or _cut_short(manifest, decisions):
        verdict, reason = Verdict.INVALID, problem
    sides = manifest.sides
    old, new = sides.get("baseline"), sides.get("candidate")
    last = max((t.start_s + t.length_s for t in manifest.trials), default=0.0)
    left = max((one.result.trials_needed for one in decisions), default=0)
    each_s = last / max(1, len(manifest.trials))
    is_open = verdict is Verdict.INCONCLUSIVE
    return GateReport(
        gate_id=manifest.gate_id,
        verdict=verdict,
        reason=reason,
        baseline=_name(manifest, "baseline"),
        candidate=_name(manifest, "candidate"),
        differences=differences(old.environment, new.environment) if old and new else [],
        slis=[line_of(one) for one in decisions],
        trials=len(manifest.trials),
        repeated=sum(one.attempt == 2 for one in manifest.trials),
        elapsed_s=round(last, 1),
        left_s=round(2 * left * each_s, 1) if is_open else 0.0,
        notes=_notes(manifest, decisions),
        repeat=manifest.repeat,
    )


def _cut_short(manifest: GateManifest, decisions: Sequence[Decision]) -> str:
    """Return why there is nothing to judge by; "": there is.

    What was complete before a gate was cut short counts, and fails; it never passes.
    """
    if manifest.outcome is Outcome.COMPLETED and decisions:
        return ""
    if any(one.verdict is Verdict.FAIL for one in decisions):
        return ""
    return manifest.reason or "no stage is complete"


def _notes(manifest: GateManifest, decisions: Sequence[Decision]) -> list[str]:
    found = []
    if not manifest.confirm:
        text = f"each of {len(decisions)} SLIs raises a false alarm in about 1 of 100 gates"
        found.append(f"{text}; with --confirm a fail counts only if a fresh repetition fails, too")
    found += losses(manifest.trials)
    if manifest.outcome is not Outcome.COMPLETED and manifest.reason:
        found.append(f"it ended early: {manifest.reason}")
    if decisions and not manifest.history:
        found.append("no history was given: the noise is that of this gate's own trials")
    return found


def line_of(decision: Decision) -> SliLine:
    """Return a decision as the reports have it."""
    result, again = decision.result, decision.confirmation
    return SliLine(
        sli=decision.sli.name,
        unit=decision.sli.unit.value,
        verdict=decision.verdict,
        reason=decision.reason,
        baseline=decision.baseline,
        candidate=decision.candidate,
        effect=result.effect,
        interval=result.interval,
        effect_detectable=result.effect_detectable,
        trials=decision.trials,
        trials_needed=result.trials_needed,
        stage=decision.stage,
        confirmed=None if again is None else again.verdict is Verdict.FAIL,
    )


def _name(manifest: GateManifest, side: str) -> str:
    entry = next((one for name, one in manifest.sides.items() if name == side), None)
    if entry is None:
        return side
    return " ".join([entry.name, *(f"--set {one}" for one in entry.overrides)])
