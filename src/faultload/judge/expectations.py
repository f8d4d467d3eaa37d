"""The experiment's claims, held against what was measured.

A claim is met when the number found is within it; it fails when the number is over it by more than
its own error, or was over it when we stopped looking.
"""

from __future__ import annotations

from collections.abc import Sequence

from faultload.judge.cost_model import Cost
from faultload.judge.model import BudgetSpent, Expectation, Recovery, Verdict
from faultload.record import InjectionEntry, InjectionStep
from faultload.spec.experiment import Expects

_HARM = (InjectionStep.INJECTING, InjectionStep.INJECTED)


def hold_claims(  # noqa: PLR0913  # one argument a kind of measurement
    expects: Expects,
    *,
    recoveries: Sequence[Recovery],
    budgets: Sequence[BudgetSpent],
    streams_lost: int | None,
    injections: Sequence[InjectionEntry],
    complete: bool,
    unknown: Sequence[str],
) -> list[Expectation]:
    """Return one expectation for each claim.

    Args:
        expects: the claims.
        recoveries: one for each SLO counted from request rows.
        budgets: one for each SLO whose events are known.
        streams_lost: None: no harm was done.
        injections: the injection journal.
        complete: the run went on to its end. Otherwise what was spent is only a lower bound.
        unknown: SLOs whose events after the harm are not known.
    """
    claims: list[Expectation] = []
    if expects.recovery_s_max is not None:
        claims.append(_recovery(expects.recovery_s_max, recoveries))
    if expects.budget_percent_max is not None:
        still_bad = any(recovery.recovery_s is None for recovery in recoveries)
        bounded = complete and not unknown and not still_bad
        claims.append(_budget(expects.budget_percent_max, budgets, bounded=bounded))
    if expects.streams_lost_max is not None:
        claims.append(_streams(expects.streams_lost_max, streams_lost, complete=complete))
    if expects.revert_s_max is not None:
        claims.append(_reverts(expects.revert_s_max, injections))
    return claims


def hold_cost(expects: Expects, cost: Cost | None) -> list[Expectation]:
    """Return the claim about money, where it is made; a bill that is not known keeps none.

    It is kept, or broken, by all that the bill may be; prices that nobody paid decide neither.
    """
    limit = expects.usd_per_1m_tokens_max
    if limit is None:
        return []
    name, claimed = "usd_per_1m_tokens_max", f"(claimed under {limit:g} USD)"
    found = cost.usd_per_1m_tokens if cost else None
    if cost is None or found is None or not cost.usd:
        why = cost.problem if cost else "nobody looked at the machines"
        why = why or ("no tokens were served" if found is None else "nothing was billed")
        text = f"a million tokens cost nobody knows how much {claimed}: {why}"
        return [Expectation(name, limit, None, Verdict.INCONCLUSIVE, text)]
    error = found * (cost.error_usd or 0.0) / cost.usd
    typical = any(quote.typical for quote in cost.prices)
    text = f"a million tokens cost {found:.3g} USD {claimed}"
    text += ", at prices that are typical and not those paid" if typical else ""
    text += f", give or take {error:.2g}" if found - error <= limit < found + error else ""
    if typical or found - error <= limit < found + error:
        verdict = Verdict.INCONCLUSIVE
    else:
        verdict = Verdict.PASS if found <= limit else Verdict.FAIL
    return [Expectation(name, limit, found, verdict, text)]


def _recovery(limit: float, recoveries: Sequence[Recovery]) -> Expectation:
    name, claimed = "recovery_s_max", f"(claimed under {limit:g} s)"
    if not recoveries:
        text = f"recovery was not measured {claimed}"
        return Expectation(name, limit, None, Verdict.INCONCLUSIVE, text)
    slowest = slowest_of(recoveries)
    at_least = _known_at_least(slowest)
    if slowest.recovery_s is None:
        verdict = Verdict.FAIL if at_least >= limit else Verdict.INCONCLUSIVE
        text = f"{slowest.slo} was not seen to recover within {at_least:.1f} s {claimed}"
        if verdict is Verdict.INCONCLUSIVE:
            text += ": observe the recovery for longer"
        return Expectation(name, limit, None, verdict, text)
    censored = [r for r in recoveries if r.recovery_s is None]
    if at_least > limit:
        certain = at_least - slowest.error_s > limit
        verdict = Verdict.FAIL if certain else Verdict.INCONCLUSIVE
    else:
        verdict = Verdict.INCONCLUSIVE if censored else Verdict.PASS
    text = f"recovered in {at_least:.1f} s {claimed}"
    if at_least == 0:
        text = f"no objective was lost, so there was nothing to recover {claimed}"
    if verdict is not Verdict.PASS:
        text = f"{slowest.slo} {text}, give or take {slowest.error_s:g} s"
    if censored and verdict is Verdict.INCONCLUSIVE:
        text += f"; {censored[0].slo} was not watched for long enough"
    return Expectation(name, limit, at_least, verdict, text)


def slowest_of(recoveries: Sequence[Recovery]) -> Recovery:
    """Return which of them, one at least, a claim is about: the longest, as far as it was seen."""
    return max(recoveries, key=_known_at_least)


def _known_at_least(recovery: Recovery) -> float:
    if recovery.recovery_s is not None:
        return recovery.recovery_s
    return recovery.censored_at_s or 0.0


def _budget(limit: float, budgets: Sequence[BudgetSpent], *, bounded: bool) -> Expectation:
    name, claimed = "budget_percent_max", f"(claimed under {limit:g} %)"
    if not budgets:
        text = f"the error budget spent was not measured {claimed}"
        return Expectation(name, limit, None, Verdict.INCONCLUSIVE, text)
    largest = max(budgets, key=lambda spent: spent.budget_percent)
    found = largest.budget_percent
    text = f"{as_percent(found / 100)} of the month's error budget spent {claimed}"
    verdict = Verdict.PASS
    if found > limit:
        verdict, text = Verdict.FAIL, f"{largest.slo}: {text}"
    elif not bounded:
        verdict, text = Verdict.INCONCLUSIVE, f"at least {text}, and not all of it was seen"
    return Expectation(name, limit, found, verdict, text)


def _streams(limit: int, lost: int | None, *, complete: bool) -> Expectation:
    name, claimed = "streams_lost_max", f"(claimed at most {limit})"
    if lost is None:
        text = f"streams lost were not counted: no harm was done {claimed}"
        return Expectation(name, limit, None, Verdict.INCONCLUSIVE, text)
    text = f"{lost} streams lost" + (f" {claimed}" if lost > limit or not complete else "")
    verdict = Verdict.PASS if complete else Verdict.INCONCLUSIVE
    return Expectation(name, limit, lost, Verdict.FAIL if lost > limit else verdict, text)


def _reverts(limit: float, injections: Sequence[InjectionEntry]) -> Expectation:
    name, claimed = "revert_s_max", f"(claimed under {limit:g} s)"
    lasted = _reverts_s(injections)
    unknown = ", ".join(fault for fault, revert_s in lasted if revert_s is None)
    # The fault's own bound may be shorter than what is claimed: its end is not the platform's.
    ill = [one.fault for one in injections if one.evidence.get("data", {}).get("healed") is False]
    if ill:
        text = f"after {', '.join(ill)} the platform was not seen to heal {claimed}"
        return Expectation(name, limit, None, Verdict.FAIL, text)
    known = [(revert_s, fault) for fault, revert_s in lasted if revert_s is not None]
    found, fault = max(known, default=(None, ""))
    if found is not None and found > limit:
        text = f"{fault} was proven gone only {found:.1f} s after its reverting began {claimed}"
        return Expectation(name, limit, found, Verdict.FAIL, text)
    if unknown or found is None:
        text = f"{unknown or 'a fault'} was not seen to be reverted {claimed}"
        return Expectation(name, limit, None, Verdict.INCONCLUSIVE, text)
    text = f"reverted, and proven gone, in {found:.1f} s {claimed}"
    return Expectation(name, limit, found, Verdict.PASS, text)


def _reverts_s(injections: Sequence[InjectionEntry]) -> list[tuple[str, float | None]]:
    """Return each fault that began, and how long reverting it took; None: that was not seen.

    From the first attempt on: one that failed and was made again took all of that time.
    """
    began = {entry.injection_id: entry.fault for entry in injections if entry.step in _HARM}
    at: dict[tuple[str, InjectionStep], float] = {}
    for entry in injections:
        at.setdefault((entry.injection_id, entry.step), entry.time_unix_s)
    lasted: list[tuple[str, float | None]] = []
    for key, fault in began.items():
        start_s = at.get((key, InjectionStep.REVERTING))
        end_s = at.get((key, InjectionStep.VERIFIED_REVERTED))
        lasted.append((fault, None if start_s is None or end_s is None else end_s - start_s))
    return lasted


def as_percent(ratio: float) -> str:
    """Return a ratio as a person reads it: two digits, and no exponent."""
    percent = 100 * ratio
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"
