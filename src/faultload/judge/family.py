"""What a gate over several SLIs says, and a second gate that has to agree before a failure counts.

Every SLI is tested at the rule's alpha; the worst verdict counts. Of a candidate that is as good as
the baseline, n SLIs raise at most n * alpha false alarms in all, however they hang together
(Bonferroni): 6 % for six SLIs at 1 %. When a failure counts only if the same SLI fails again in a
gate of new trials, it is n * alpha^2 at most: 0.06 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from faultload.judge.gate import GateResult
from faultload.judge.model import Verdict, by_severity, worst


@dataclass(frozen=True)
class FamilyResult:
    """What all SLIs of a gate say together.

    Attributes:
        verdict: the worst; inconclusive without any SLI.
        reason: one sentence, with the SLIs that decided.
        slis: that decided: those with this verdict.
        false_alarms_max: largest share of gates that fail though no SLI got worse.
    """

    verdict: Verdict
    reason: str
    slis: Sequence[str]
    false_alarms_max: float


def family(
    results: Mapping[str, GateResult], *, alpha: float = 0.01, is_confirmed: bool = False
) -> FamilyResult:
    """Sum up a gate.

    Args:
        results: by SLI.
        alpha: of each SLI's rule.
        is_confirmed: the results are those of `confirm`.
    """
    verdict = worst(result.verdict for result in results.values())
    rate = min(1.0, len(results) * (alpha**2 if is_confirmed else alpha))
    slis = [sli for sli, result in results.items() if result.verdict is verdict]
    deciding = [f"{sli}: {results[sli].reason}" for sli in slis]
    if verdict is Verdict.PASS:
        reason = f"{_slis(len(results))} proven to be no worse than tolerated."
    else:
        reason = " ".join(deciding) or "No SLI was compared."
    return FamilyResult(verdict, reason, slis, rate)


def confirm(
    first: Mapping[str, GateResult], second: Mapping[str, GateResult]
) -> dict[str, GateResult]:
    """Return the first gate's results, its failures only where new trials fail, too.

    A failure that is not repeated is inconclusive, and never a pass: the two gates disagree.

    Args:
        first: by SLI.
        second: the same gate on new trials, by SLI; what is missing confirms nothing.
    """
    return {sli: _confirmed(result, second.get(sli)) for sli, result in first.items()}


def _confirmed(first: GateResult, second: GateResult | None) -> GateResult:
    if first.verdict is not Verdict.FAIL:
        return first
    if second is None:
        text = f"{first.reason} This was not tried again."
        return replace(first, verdict=Verdict.INCONCLUSIVE, reason=text)
    # An invalid repetition stays invalid, a failed one failed; anything better is a disagreement.
    verdict = min(second.verdict, Verdict.INCONCLUSIVE, key=by_severity)
    said = "again" if verdict is Verdict.FAIL else "not again"
    text = f"{first.reason} Tried again, {said}: {second.reason}"
    return replace(first, verdict=verdict, reason=text)


def _slis(count: int) -> str:
    return "One SLI is" if count == 1 else f"{count} SLIs are"
