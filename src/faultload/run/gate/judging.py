"""A gate judged from its directory alone: the same looks in the same order, and no platform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from faultload.judge import Verdict, family
from faultload.judge.trial import Sli, slis_of
from faultload.record import Outcome
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
    measure,
    spoilt,
    stored_trials,
    unanswered,
)
from faultload.run.gate.looks import look_at
from faultload.run.gate.sides import differences
from faultload.spec import SLO, load_scenario, load_slos

COST = (
    "the baseline is of another session: with 3 % of drift between sessions such a gate fails a"
    " platform that did not change in 14 of 100 cases, where interleaved trials fail it in 1"
    " (docs/gate.md). A fail is a reason to run both sides live, and no more"
)


def read_gate(directory: GateDirectory) -> tuple[GateManifest, list[SLO], list[Trial]]:
    """Return a gate's manifest, its SLOs, and its valid trials with their numbers.

    Raises:
        SpecError: a file is missing, damaged, or was changed since the gate was sealed.
    """
    manifest = directory.manifest()
    directory.check_sealed()
    scenario, slos = load_scenario(directory.scenario), load_slos(directory.slos)
    window_s = (manifest.warmup_s, manifest.warmup_s + manifest.trial_s)
    trials = [
        Trial(entry, measure(directory.trial(entry.name), slos, scenario, window_s))
        for entry in manifest.trials
        if not entry.problems
    ]
    return manifest, slos, trials


def of_no_use(manifest: GateManifest) -> str:
    """Return why a gate's trials prove nothing to another comparison; "": they do."""
    if manifest.outcome is not Outcome.COMPLETED:
        return f"the gate was cut short: {manifest.reason or manifest.outcome.value}"
    return spoilt(manifest.trials)


def judge_gate(directory: GateDirectory, look: Look = look_at) -> GateReport:
    """Judge a gate from what is stored.

    Raises:
        SpecError: as `read_gate`.
    """
    manifest, slos, trials = read_gate(directory)
    slis = slis_of(slos)
    rounds = {number: [t for t in trials if t.entry.round == number] for number in (1, 2)}
    if manifest.against is not None:
        slis = [sli for sli in slis if sli.name in manifest.against.entry.trials]
        rounds[1] = [*stored_trials(manifest.against.entry), *rounds[1]]
    seen = _look_back(manifest, rounds[1], slis, look)
    failed, again = seen.of(Verdict.FAIL), None
    if manifest.candidate_gone:
        again = unanswered(failed, manifest.candidate_gone)
    elif rounds[2]:
        again = _look_back(manifest, rounds[2], [s for s in slis if s.name in failed], look)
    decisions = decide(rounds[1], slis, seen, again, confirm=manifest.confirm)
    known = {sli.name for sli in slis}
    return _report(manifest, decisions, [s.name for s in slis_of(slos) if s.name not in known])


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


def _report(
    manifest: GateManifest, decisions: Sequence[Decision], unknown: Sequence[str]
) -> GateReport:
    verdict, reason = sum_up(decisions)
    if problem := spoilt(manifest.trials) or _cut_short(manifest, decisions):
        verdict, reason = Verdict.INVALID, problem
    sides = manifest.sides
    old, new = sides.get("baseline"), sides.get("candidate")
    changed = differences(old.environment, new.environment) if old and new else []
    if manifest.against is not None:
        changed = manifest.against.differs
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
        differences=changed,
        slis=[line_of(one) for one in decisions],
        trials=len(manifest.trials),
        repeated=sum(one.attempt == 2 for one in manifest.trials),
        elapsed_s=round(last, 1),
        left_s=round(len(sides) * left * each_s, 1) if is_open else 0.0,
        notes=_notes(manifest, decisions, unknown),
        repeat=manifest.repeat,
    )


def sum_up(decisions: Sequence[Decision]) -> tuple[Verdict, str]:
    """Return what all SLIs say together, and which of them decided."""
    found = family({one.sli.name: replace(one.result, verdict=one.verdict) for one in decisions})
    named = f" ({', '.join(found.slis)})" if found.verdict is not Verdict.PASS else ""
    return found.verdict, meaning(found.verdict) + named


def _cut_short(manifest: GateManifest, decisions: Sequence[Decision]) -> str:
    """Return why there is nothing to judge by; "": there is.

    What was complete before a gate was cut short counts, and fails; it never passes.
    """
    if manifest.outcome is Outcome.COMPLETED and decisions:
        return ""
    if any(one.verdict is Verdict.FAIL for one in decisions):
        return ""
    return manifest.reason or "no stage is complete"


def left_out(names: Sequence[str]) -> list[str]:
    """Return a note on SLIs that a stored baseline does not have."""
    return [f"not compared, for the baseline has no number: {', '.join(names)}"] if names else []


def _notes(
    manifest: GateManifest, decisions: Sequence[Decision], unknown: Sequence[str]
) -> list[str]:
    found = left_out(unknown)
    if manifest.against is not None:
        found.append(COST)
    elif not manifest.confirm:
        text = f"each of {len(decisions)} SLIs raises a false alarm in about 1 of 100 gates"
        found.append(f"{text}; with --confirm a fail counts only if a fresh repetition fails, too")
    found += losses(manifest.trials)
    if manifest.outcome is not Outcome.COMPLETED and manifest.reason:
        found.append(f"it ended early: {manifest.reason}")
    if decisions and not manifest.history and manifest.against is None:
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
    if side == "baseline" and manifest.against is not None:
        return f"{manifest.against.name} of {manifest.against.entry.saved}"
    entry = next((one for name, one in manifest.sides.items() if name == side), None)
    if entry is None:
        return side
    return " ".join([entry.name, *(f"--set {one}" for one in entry.overrides)])
