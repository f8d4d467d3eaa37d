"""A stored baseline against the candidate of a gate: what another session's numbers still say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faultload.errors import InvalidRunError
from faultload.judge.trial import Sli, slis_of
from faultload.record.baseline import Baseline
from faultload.record.gate import GateDirectory
from faultload.report.gate import GateReport
from faultload.run.baselines import Saved, check_comparable, fingerprint_of, numbers_by_sli
from faultload.run.gate.deciding import Decision, Look, fewest, mean
from faultload.run.gate.judging import COST, left_out, line_of, of_no_use, read_gate, sum_up
from faultload.run.gate.looks import Numbers, look_at


def compare_with_baseline(
    saved: Saved, candidate: Path, *, differs: Sequence[str] = (), look: Look = look_at
) -> GateReport:
    """Compare a stored baseline with the candidate's trials of a gate.

    Args:
        saved: the baseline.
        candidate: the gate's directory.
        differs: what of their fingerprints is meant to differ.
        look: a stand-in for tests.

    Raises:
        RefusedError: their fingerprints differ in something else.
        InvalidRunError: the candidate's trials prove nothing.
    """
    assert isinstance(saved.entry, Baseline)  # noqa: S101  # `accepted` returns no other
    directory = GateDirectory.open(candidate)
    manifest, slos, trials = read_gate(directory)
    if problem := of_no_use(manifest):
        raise InvalidRunError(f"{candidate}: {problem}")
    fingerprint = fingerprint_of(directory, manifest, "candidate")
    meant = check_comparable(saved, fingerprint, differs)
    own = [one for one in trials if one.entry.side == "candidate"]
    requests = min(saved.entry.requests, fewest(own))
    slis, old = slis_of(slos), saved.entry.trials
    new = numbers_by_sli(own, "candidate", slis)
    # What the candidate has no number for is compared all the same: that makes it invalid.
    decisions = [
        _decision(sli, old[sli.name], new[sli.name], requests, look)
        for sli in slis
        if sli.name in old
    ]
    if not decisions:
        raise InvalidRunError(f"{candidate}: the baseline has no number for any of its SLIs")
    verdict, reason = sum_up(decisions)
    return GateReport(
        gate_id=manifest.gate_id,
        verdict=verdict,
        reason=reason,
        baseline=f"{saved.name}@{saved.number} of {saved.entry.saved}",
        candidate=manifest.sides["candidate"].name,
        differences=meant,
        slis=[line_of(one) for one in decisions],
        trials=len(own),
        repeated=0,
        elapsed_s=round(sum(one.entry.length_s for one in own), 1),
        left_s=0.0,
        notes=[*left_out([sli.name for sli in slis if sli.name not in old]), COST],
        repeat="",
    )


def _decision(sli: Sli, old: Numbers, new: Numbers, requests: int, look: Look) -> Decision:
    result = look(sli, old, new, stage=1, stages=1, requests=requests, history=None)
    return Decision(
        sli=sli,
        verdict=result.verdict,
        reason=result.reason,
        result=result,
        stage=1,
        confirmation=None,
        baseline=mean(old),
        candidate=mean(new),
        trials=sum(map(len, new.values())),
    )
