"""The regression gate on stored runs: one number a trial, trials against trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import InvalidRunError, UsageError
from faultload.judge import Judgement, PhaseResult, Verdict
from faultload.judge.gate import GateResult, GateRule, gate
from faultload.record import Manifest, PhaseName, RunDirectory
from faultload.run.judging import judge_stored

# Added before logarithms are taken, so that an instant recovery is not minus infinity
# (docs/statistics.md); one second is below what the estimator can tell from none.
_RECOVERY_OFFSET_S = 1.0


@dataclass(frozen=True)
class Compared:
    """One SLI of the gate.

    Attributes:
        sli: what was compared.
        verdict: the gate's.
        sentence: the SLI and the gate's reason.
        result: the numbers behind it.
    """

    sli: str
    verdict: Verdict
    sentence: str
    result: GateResult


def compare_runs(baseline: Sequence[Path], candidate: Sequence[Path]) -> list[Compared]:
    """Compare stored trials, SLI by SLI.

    Args:
        baseline: directories of runs of what is accepted.
        candidate: directories of runs of what is proposed.

    Raises:
        UsageError: the runs are not trials of one experiment under one workload.
        InvalidRunError: a trial is invalid.
    """
    sides = [[_trial(path) for path in paths] for paths in (baseline, candidate)]
    _check_same_trials([manifest for side in sides for manifest, _ in side])
    ids = [manifest.run_id for side in sides for manifest, _ in side]
    twice = sorted({run_id for run_id in ids if ids.count(run_id) > 1})
    if twice:
        raise UsageError(f"expected different trials, found {', '.join(twice)} more than once")
    numbers = [[_numbers(judgement) for _, judgement in side] for side in sides]
    names = sorted({name for side in numbers for trial in side for name in trial})
    compared = []
    for name in names:
        old, new = ([trial.get(name, float("nan")) for trial in side] for side in numbers)
        offset_s = _RECOVERY_OFFSET_S if name.endswith("recovery_s") else 0.0
        result = gate(old, new, GateRule(offset=offset_s))
        sentence = f"{result.verdict.value}: {name}: {result.reason}"
        compared.append(Compared(name, result.verdict, sentence, result))
    if not compared:
        raise UsageError("the runs hold no number to compare: none has a baseline with latencies")
    return compared


def _trial(path: Path) -> tuple[Manifest, Judgement]:
    judged = judge_stored(RunDirectory.open(path))
    if judged.judgement.verdict is Verdict.INVALID:
        raise InvalidRunError(
            f"{path}: this trial is invalid and proves nothing: {judged.judgement.reason}"
            " Leave it out and run another"
        )
    return judged.manifest, judged.judgement


def _check_same_trials(manifests: Sequence[Manifest]) -> None:
    for what in ("experiment", "scenario", "slos", "seed"):
        found = {str(getattr(manifest, what)) for manifest in manifests}
        if len(found) > 1:
            raise UsageError(
                f"expected trials of one {what}, found {', '.join(sorted(found))}:"
                " runs that differ in it cannot be compared"
            )


def _numbers(judgement: Judgement) -> dict[str, float]:
    """Return the scalars of one trial; larger is worse. What a trial lacks is left out."""
    numbers = {
        f"{result.slo} {quantile}": value
        for result in judgement.phases
        if result.phase is PhaseName.BASELINE
        for quantile, value in _quantiles(result).items()
        if value is not None
    }
    numbers |= {
        f"{recovery.slo} recovery_s": recovery.recovery_s
        for recovery in judgement.recoveries
        if recovery.recovery_s is not None
    }
    return numbers


def _quantiles(result: PhaseResult) -> dict[str, float | None]:
    return {"s_p50": result.value_s_p50, "s_p95": result.value_s_p95}
