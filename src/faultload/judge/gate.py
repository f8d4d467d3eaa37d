"""The regression gate: is the candidate worse than the baseline, trial against trial?

The unit is the trial (a whole run), never the request: requests of one run share its weather, and a
test over them raises false alarms in up to half of all comparisons of a thing with itself
(docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

from faultload.judge.model import Verdict
from faultload.judge.rows import Floats

EXACT_MAX = 20_000
"""Up to so many arrangements are all looked at; of more, `DRAWS` are drawn."""
DRAWS = 5_000
SPREAD_MIN = 0.01
"""Trials that agree better than this, on the log scale, agree by luck."""
POWER = 0.95
"""With which the smallest detectable effect is detected."""
TRIALS_MIN = 5


@dataclass(frozen=True)
class GateRule:
    """What is asked of a comparison; larger numbers are worse.

    Attributes:
        alpha: largest share of false alarms.
        gamma: largest share of wrong passes, when the candidate is worse by exactly `tolerated`.
        effect_min: a smaller worsening never fails, 0.03 = 3 %.
        tolerated: a pass proves that the worsening is less than this, 0.1 = 10 %.
        offset: added before logarithms are taken; for numbers that can be zero, such as 1 s.
        seed: of the drawn arrangements.
    """

    alpha: float = 0.01
    gamma: float = 0.05
    effect_min: float = 0.03
    tolerated: float = 0.10
    offset: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class GateResult:
    """What the gate says.

    Attributes:
        verdict: pass is a proven bound, fail a proven worsening; invalid: not a comparison.
        reason: one sentence.
        effect: relative worsening of the geometric mean, 0.1 = 10 % worse; None: not computed.
        p: one-sided, of the hypothesis that nothing got worse; None: not computed.
        interval: 90 % interval of the effect, by inverting the permutation test.
        effect_detectable: smallest worsening that this many trials, as noisy as these, would find
            in 95 of 100 cases; None: too few trials to know the noise.
        trials_needed: more trials a side until `tolerated` would be found; 0 when decided.
    """

    verdict: Verdict
    reason: str
    effect: float | None
    p: float | None
    interval: tuple[float, float] | None
    effect_detectable: float | None
    trials_needed: int


def gate(
    baseline: Sequence[float], candidate: Sequence[float], rule: GateRule | None = None
) -> GateResult:
    """Compare one number a trial, by an exact two-sample permutation test on logarithms.

    Args:
        baseline: one number for each trial of what is accepted.
        candidate: the same for what is proposed, run interleaved with the baseline's trials.
        rule: what is asked; None: the defaults.
    """
    rule = rule or GateRule()
    shifted = [np.asarray(side, dtype=np.float64) + rule.offset for side in (baseline, candidate)]
    if any(not (np.isfinite(side) & (side > 0)).all() for side in shifted):
        text = "A trial's number is missing, infinite or not above zero: this is no comparison."
        return GateResult(Verdict.INVALID, text, None, None, None, None, 0)
    old, new = (np.log(side) for side in shifted)
    if math.comb(len(old) + len(new), len(old)) < 1 / rule.alpha:
        missing = max(1, TRIALS_MIN - min(len(old), len(new)))
        text = f"{len(old)} and {len(new)} trials are too few: run {missing} more a side."
        return GateResult(Verdict.INCONCLUSIVE, text, None, None, None, None, missing)
    return _compare(old, new, rule)


def _compare(old: Floats, new: Floats, rule: GateRule) -> GateResult:
    test = _Permutation(old, new, rule.seed)
    effect = float(new.mean() - old.mean())
    tolerated = math.log1p(rule.tolerated)
    p_worse, p_tolerated = test.p_above(0.0), test.p_below(tolerated)
    low = test.bound(lambda shift: test.p_above(shift) > rule.gamma, above=False)
    high = test.bound(lambda shift: test.p_below(shift) > rule.gamma, above=True)
    spread = _spread(old, new)
    detectable = _detectable(spread, len(old), len(new), rule.alpha)
    needed = 0
    if p_worse <= rule.alpha and effect >= math.log1p(rule.effect_min):
        verdict = Verdict.FAIL
        text = f"Worse by {math.expm1(effect):.1%} (p = {p_worse:.2g})."
    elif p_tolerated <= rule.gamma:
        verdict = Verdict.PASS
        text = f"Worse by at most {math.expm1(high):.1%}; {rule.tolerated:.0%} is tolerated."
    else:
        verdict = Verdict.INCONCLUSIVE
        needed = max(1, _trials(spread, tolerated, rule.alpha) - min(len(old), len(new)))
        text = (
            f"Between {math.expm1(low):.1%} and {math.expm1(high):.1%} worse: run {needed} more"
            f" trials a side to tell {rule.tolerated:.0%}."
        )
    bounds = (math.expm1(low), math.expm1(high))
    return GateResult(verdict, text, math.expm1(effect), p_worse, bounds, detectable, needed)


class _Permutation:
    """Two samples, and the arrangements under which their difference is looked at."""

    def __init__(self, old: Floats, new: Floats, seed: int) -> None:
        self.old, self.new = old, new
        size, chosen = len(old) + len(new), len(new)
        self.exact = math.comb(size, chosen) <= EXACT_MAX
        if self.exact:
            picks = np.array(list(combinations(range(size), chosen)))
        else:
            generator = np.random.default_rng(seed)
            picks = np.argsort(generator.random((DRAWS, size)), axis=1)[:, :chosen]
        # One row an arrangement; the product with the pooled sample is a difference of means.
        self.weights = np.full((len(picks), size), -1 / len(old))
        np.put_along_axis(self.weights, picks, 1 / chosen, axis=1)

    def p_above(self, shift: float) -> float:
        """One-sided p of "new is worse than old by no more than `shift`"."""
        return self._p(np.concatenate([self.old, self.new - shift]), 1)

    def p_below(self, shift: float) -> float:
        """One-sided p of "new is worse than old by at least `shift`"."""
        return self._p(np.concatenate([self.old, self.new - shift]), -1)

    def _p(self, pooled: Floats, sign: int) -> float:
        count = len(self.old)
        observed = sign * (pooled[count:].mean() - pooled[:count].mean())
        as_extreme = int((sign * (self.weights @ pooled) >= observed - 1e-12).sum())
        # All arrangements hold the observed one; draws do not, hence the added one.
        if self.exact:
            return as_extreme / len(self.weights)
        return (1 + as_extreme) / (1 + len(self.weights))

    def bound(self, is_kept: Callable[[float], bool], *, above: bool) -> float:
        """Return the largest (`above`) or smallest shift that the test keeps, to 0.01 %."""
        kept = float(self.new.mean() - self.old.mean())
        reach = float(np.ptp(np.concatenate([self.old, self.new]))) + 1e-3
        step = 2 * reach if above else -2 * reach
        lost = kept + step
        while abs(lost - kept) > 1e-4:
            middle = (kept + lost) / 2
            kept, lost = (middle, lost) if is_kept(middle) else (kept, middle)
        return lost


def _spread(old: Floats, new: Floats) -> float:
    freedom = len(old) + len(new) - 2
    squares = float(((old - old.mean()) ** 2).sum() + ((new - new.mean()) ** 2).sum())
    return max(SPREAD_MIN, math.sqrt(squares / freedom))


def _detectable(spread: float, old: int, new: int, alpha: float) -> float:
    freedom = old + new - 2
    t = float(special.stdtrit(freedom, 1 - alpha) + special.stdtrit(freedom, POWER))
    return math.expm1(t * spread * math.sqrt(1 / old + 1 / new))


def _trials(spread: float, effect: float, alpha: float) -> int:
    z = float(special.ndtri(1 - alpha) + special.ndtri(POWER))
    return max(TRIALS_MIN, math.ceil(2 * (z * spread / effect) ** 2) + 1)
