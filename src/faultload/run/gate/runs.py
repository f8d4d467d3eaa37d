"""The regression gate on stored runs: one number a trial, trials against trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import InvalidRunError, UsageError
from faultload.judge import Recovery, Verdict
from faultload.judge.gate import GateResult, GateRule, gate
from faultload.judge.trial import Measured, slis_of
from faultload.record import Manifest, PhaseName, RunDirectory
from faultload.run.gate.deciding import measure
from faultload.run.gate.looks import look_at
from faultload.run.judging import judge_stored
from faultload.spec import SLO, load_scenario, load_slos

# Added before logarithms are taken, so that an instant recovery is not minus infinity
# (docs/statistics.md); one second is below what the estimator can tell from none.
_RECOVERY_OFFSET_S = 1.0
_ANY_TRACE = "runs"
"""All runs have the same seed, and so one trace."""


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

    @classmethod
    def of(cls, sli: str, result: GateResult) -> Compared:
        """Say what the gate said of an SLI."""
        return cls(sli, result.verdict, f"{result.verdict.value}: {sli}: {result.reason}", result)


@dataclass(frozen=True)
class StoredRun:
    """What the gate reads of one run.

    Attributes:
        manifest: what was run.
        slos: it was judged by.
        baseline: numbers of the phase before the harm, as of a trial of the live gate.
        recoveries: one for each SLO that has one.
    """

    manifest: Manifest
    slos: Sequence[SLO]
    baseline: Measured
    recoveries: Sequence[Recovery]


def compare_runs(baseline: Sequence[Path], candidate: Sequence[Path]) -> list[Compared]:
    """Compare stored runs, SLI by SLI: those of the live gate before the harm, and the recoveries.

    Args:
        baseline: directories of runs of what is accepted.
        candidate: directories of runs of what is proposed.

    Raises:
        UsageError: the runs are not trials of one experiment under one workload.
        InvalidRunError: a trial is invalid.
    """
    old, new = ([_read(path) for path in paths] for paths in (baseline, candidate))
    everyone = [*old, *new]
    _check_same_trials([one.manifest for one in everyone])
    ids = [one.manifest.run_id for one in everyone]
    if twice := sorted({run_id for run_id in ids if ids.count(run_id) > 1}):
        raise UsageError(f"expected different trials, found {', '.join(twice)} more than once")
    requests = min(one.baseline.requests for one in everyone)
    compared = []
    for sli in slis_of(everyone[0].slos):
        sides = (
            {_ANY_TRACE: [one.baseline.numbers.get(sli.name, math.nan) for one in side]}
            for side in (old, new)
        )
        result = look_at(sli, *sides, stage=1, stages=1, requests=requests, history=None)
        compared.append(Compared.of(sli.name, result))
    names = sorted({recovery.slo for one in everyone for recovery in one.recoveries})
    return [*compared, *(_recovery(name, old, new) for name in names)]


def _read(path: Path) -> StoredRun:
    directory = RunDirectory.open(path)
    judged = judge_stored(directory)
    if judged.judgement.verdict is Verdict.INVALID:
        raise InvalidRunError(
            f"{path}: this trial is invalid and proves nothing: {judged.judgement.reason}"
            " Leave it out and run another"
        )
    slos, scenario = load_slos(directory.slos), load_scenario(directory.scenario)
    (before,) = [one for one in judged.manifest.phases if one.name is PhaseName.BASELINE]
    found = measure(directory, slos, scenario, (before.start_s, before.end_s))
    return StoredRun(judged.manifest, slos, found, judged.judgement.recoveries)


def _check_same_trials(manifests: Sequence[Manifest]) -> None:
    for what in ("experiment", "scenario", "slos", "seed"):
        found = {str(getattr(manifest, what)) for manifest in manifests}
        if len(found) > 1:
            raise UsageError(
                f"expected trials of one {what}, found {', '.join(sorted(found))}:"
                " runs that differ in it cannot be compared"
            )


def _recovery(slo: str, old: Sequence[StoredRun], new: Sequence[StoredRun]) -> Compared:
    """Compare how long an SLO was missed; one that stays missed has no length, and no pass."""
    sides = [[_recovery_s(slo, one) for one in side] for side in (old, new)]
    name = f"{slo} recovery_s"
    if any(math.isinf(value) for side in sides for value in side):
        open_ended = [sum(map(math.isinf, side)) for side in sides]
        text = (
            f"{open_ended[0]} of {len(old)} and {open_ended[1]} of {len(new)} trials had not"
            " recovered when they ended: nobody knows how long it takes. Run longer recoveries."
        )
        result = GateResult(Verdict.INVALID, text, None, None, None, None, 0)
    else:
        result = gate(sides[0], sides[1], GateRule(offset=_RECOVERY_OFFSET_S))
    return Compared.of(name, result)


def _recovery_s(slo: str, run: StoredRun) -> float:
    """Return NaN where the run says nothing of this SLO; infinite: not while it was watched."""
    found = next((one for one in run.recoveries if one.slo == slo), None)
    if found is None:
        return math.nan
    return math.inf if found.recovery_s is None else found.recovery_s
