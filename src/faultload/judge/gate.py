"""The regression gate: is the candidate worse than the baseline, trial against trial?

The unit is the trial (a whole run), never the request: requests of one run share its weather, and a
test over them raises false alarms in up to half of all comparisons of a thing with itself
(docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy

from faultload.judge.arrangements import (
    Noise,
    ShiftTest,
    Strata,
    arrangement_count,
    difference,
    error_factor,
    level,
)
from faultload.judge.model import Verdict
from faultload.judge.rows import Floats
from faultload.judge.transform import Scale, Transform

SPREAD_MIN = 0.01
"""Trials that agree better than this, on the log scale, agree by luck."""
SPREAD_MAX = 0.15
"""Latencies that differ more than this under one trace are those of a platform past its knee."""
POWER = 0.95
"""With which the smallest detectable effect is detected."""
TRIALS_MIN = 5


@dataclass(frozen=True)
class GateRule:
    """What is asked of a comparison; larger numbers are worse.

    Attributes:
        alpha: largest share of false alarms, over all looks.
        gamma: largest share of wrong passes, when the candidate is worse by exactly `tolerated`.
        effect_min: a smaller worsening never fails, 0.03 = 3 %, or 3 points of a ratio.
        tolerated: a pass proves that the worsening is less than this, 0.1 = 10 %, or 10 points.
        offset: added before logarithms are taken; for numbers that can be zero, such as 1 s.
        seed: of the drawn arrangements.
        stages: how often `look` may look; alpha and gamma are divided by it.
        transform: of the numbers; ratios are shares of bad events.
        spread_min: standard deviation that a trial's number has at least, on the transformed scale,
            because of how it is counted: see `ratio_spread`. None: 1 %, and sides that hold the
            same numbers are taken for copies of each other.
    """

    alpha: float = 0.01
    gamma: float = 0.05
    effect_min: float = 0.03
    tolerated: float = 0.10
    offset: float = 0.0
    seed: int = 0
    stages: int = 3
    transform: Transform = Transform.LOG
    spread_min: float | None = None


@dataclass(frozen=True)
class GateResult:
    """What the gate says. Effects are relative, 0.1 = 10 % worse; of ratios they are differences.

    Attributes:
        verdict: pass is a proven bound, fail a proven worsening; invalid: not a comparison.
        reason: one sentence.
        effect: worsening of the geometric mean, of ratios of the mean; None: not computed.
        p: one-sided, of the hypothesis that nothing got worse; None: not computed. It fails at
            alpha, of which each look of `look` has its share.
        interval: of the effect; each bound holds at gamma, of which each look has its share. None:
            not computed.
        effect_detectable: smallest worsening that this many trials, as noisy as these, would find
            in 95 of 100 cases; None: too few trials to know the noise.
        trials_needed: more trials a side until `tolerated` would be found; 0 when decided.
        spread: standard deviation of a trial under its trace, on the transformed scale; None: not
            known.
        stage: which look this was; 0: the only one.
    """

    verdict: Verdict
    reason: str
    effect: float | None
    p: float | None
    interval: tuple[float, float] | None
    effect_detectable: float | None
    trials_needed: int
    spread: float | None = None
    stage: int = 0


def ratio_spread(events: int, design_effect: float) -> float:
    """Return `GateRule.spread_min` of a ratio of `events` a trial.

    A share of n independent events has the deviation 1 / (2 sqrt n) on the arcsine scale.
    """
    return math.sqrt(design_effect / events) / 2


def gate(
    baseline: Sequence[float], candidate: Sequence[float], rule: GateRule | None = None
) -> GateResult:
    """Compare one number a trial, once, by an exact two-sample permutation test.

    Args:
        baseline: one number for each trial of what is accepted.
        candidate: the same for what is proposed, run interleaved with the baseline's trials.
        rule: what is asked; None: the defaults.
    """
    rule = rule or GateRule()
    old, new = (np.asarray(side, dtype=np.float64) for side in (baseline, candidate))
    scale = Scale(rule.transform, float(old.mean()) if len(old) else 0.0, rule.offset)
    if not (scale.holds(old) and scale.holds(new)):
        return _nothing(Verdict.INVALID, f"A trial's number is {_OUTSIDE[rule.transform]}.")
    if math.comb(len(old) + len(new), len(old)) < 1 / rule.alpha:
        missing = max(1, TRIALS_MIN - min(len(old), len(new)))
        text = f"{len(old)} and {len(new)} trials are too few: run {missing} more a side."
        return _nothing(Verdict.INCONCLUSIVE, text, missing)
    compared = _Comparison([(scale.on(old), scale.on(new))], rule, scale, looks=1)
    noise = Noise.between(compared.strata)
    return _decide(compared, _permutation(compared, noise), noise)


def look(
    baseline: Mapping[str, Sequence[float]],
    candidate: Mapping[str, Sequence[float]],
    rule: GateRule,
    *,
    stage: int,
    history: Mapping[str, Sequence[float]] | None = None,
) -> GateResult:
    """Compare trials under the same traces, one of `rule.stages` looks at growing data.

    Pass and fail end the gate; inconclusive before the last stage means: run another.

    Args:
        baseline: one number for each trial of what is accepted, by trace.
        candidate: the same for what is proposed, run interleaved with the baseline's trials.
        rule: what is asked.
        stage: which look this is, from 1.
        history: stored trials of what is accepted, by trace. They tell the noise while there are
            too few trials for a permutation test, and are never compared with the candidate.
    """
    if not 1 <= stage <= rule.stages:
        raise ValueError(f"expected a stage of 1 to {rule.stages}, found {stage}")
    old, new, stored = (_arrays(side) for side in (baseline, candidate, history or {}))
    refusal = _refusal(old, new, stored, rule)
    if refusal:
        return replace(refusal, stage=stage)
    scale = Scale(rule.transform, level(old.values()), rule.offset)
    strata = [(scale.on(old[trace]), scale.on(new[trace])) for trace in sorted(old)]
    compared = _Comparison(strata, rule, scale, rule.stages)
    noise = Noise.between(strata)
    if 1 / arrangement_count(strata) <= min(compared.alpha, compared.gamma):
        return replace(_decide(compared, _permutation(compared, noise), noise), stage=stage)
    noise = _noisier(noise, Noise.stored([scale.on(stored[t]) for t in stored if t in old]))
    if not noise.freedom:
        text = "So few trials do not tell how much trials differ: run more."
        needed = compared.in_rounds(TRIALS_MIN - len(strata))
        return replace(_nothing(Verdict.INCONCLUSIVE, text, needed), stage=stage)
    return replace(_decide(compared, _student(compared, noise), noise), stage=stage)


@dataclass(frozen=True)
class _Comparison:
    """Trials on the transformed scale, and what is asked of them."""

    strata: Strata
    rule: GateRule
    scale: Scale
    looks: int

    @property
    def alpha(self) -> float:
        """This look's share."""
        return self.rule.alpha / self.looks

    @property
    def gamma(self) -> float:
        """This look's share."""
        return self.rule.gamma / self.looks

    @cached_property
    def worse(self) -> float:
        """What was seen, which the tests look at."""
        return difference(self.strata)

    @cached_property
    def seen(self) -> float:
        """What was seen, as people count it: of ratios the difference of plain means.

        Where errors come in bursts, most trials have few: on the transformed scale their mean
        hardly moves, and a pass that rests on it alone is wrong too often (docs/statistics.md).
        """
        if self.rule.transform is Transform.LOG:
            return self.worse
        return self.scale.shift(
            difference([(np.sin(o) ** 2, np.sin(n) ** 2) for o, n in self.strata])
        )

    @property
    def tolerated(self) -> float:
        """What may not be passed."""
        return self.scale.shift(self.rule.tolerated)

    @cached_property
    def factor(self) -> float:
        """Standard error of `worse`, in standard deviations of a trial."""
        return error_factor(self.strata)

    @property
    def is_latency(self) -> bool:
        """Whether much noise means saturation; recoveries, which can be zero, are always noisy."""
        return self.rule.transform is Transform.LOG and not self.rule.offset

    @property
    def spread_min(self) -> float:
        """See `GateRule`."""
        return SPREAD_MIN if self.rule.spread_min is None else self.rule.spread_min

    def in_rounds(self, trials: int) -> int:
        """Return so many more trials a side, but whole rounds of all traces, and one at least."""
        return len(self.strata) * max(1, math.ceil(trials / len(self.strata)))

    def trials(self, spread: float) -> int:
        """Return how many trials a side would find what is tolerated."""
        z = float(scipy.special.ndtri(1 - self.alpha) + scipy.special.ndtri(POWER))
        return max(TRIALS_MIN, math.ceil(2 * (z * spread / self.tolerated) ** 2) + 1)


@dataclass(frozen=True)
class _Test:
    """How likely is what was seen, if nothing got worse, or just too much?

    Attributes:
        p_worse: of "not worse at all".
        p_tolerated: of "worse by what is tolerated, or more".
        bounds: of the difference, on the transformed scale.
        spread: of a trial, on which a failure rests.
    """

    p_worse: float
    p_tolerated: float
    bounds: tuple[float, float]
    spread: float


def _permutation(compared: _Comparison, noise: Noise) -> _Test:
    test = ShiftTest.of(compared.strata, compared.rule.seed)
    low, high = test.bounds(compared.gamma)
    # Trials that agree, such as those without any error, agree by luck: a pass needs more.
    error = compared.spread_min * compared.factor
    worse = max(compared.worse, compared.seen)
    by_luck = float(scipy.special.ndtr((worse - compared.tolerated) / error))
    reach = float(scipy.special.ndtri(1 - compared.gamma)) * error
    return _Test(
        p_worse=test.p_above(0.0),
        p_tolerated=max(test.p_below(compared.tolerated), by_luck),
        bounds=(low, max(high, worse + reach)),
        spread=max(noise.spread, SPREAD_MIN),
    )


def _student(compared: _Comparison, noise: Noise) -> _Test:
    spread = max(noise.spread, compared.spread_min)
    error = spread * compared.factor
    reach = noise.quantile(1 - compared.gamma) * error
    low, high = sorted((compared.worse, compared.seen))
    return _Test(
        p_worse=noise.p_above(compared.worse / error),
        p_tolerated=noise.p_above((compared.tolerated - high) / error),
        bounds=(low - reach, high + reach),
        spread=spread,
    )


def _decide(compared: _Comparison, test: _Test, noise: Noise) -> GateResult:
    rule, scale, effect = compared.rule, compared.scale, compared.scale.effect(compared.seen)
    t = noise.quantile(1 - compared.alpha) + noise.quantile(POWER)
    low, high = (scale.effect(bound) for bound in test.bounds)
    verdict, text, needed = Verdict.INCONCLUSIVE, "", 0
    is_saturated = compared.is_latency and noise.spread > SPREAD_MAX
    if test.p_worse <= compared.alpha and compared.seen >= scale.shift(rule.effect_min):
        verdict = Verdict.FAIL
        text = f"Worse by {scale.said(effect)} (p = {test.p_worse:.2g})."
    elif test.p_tolerated <= compared.gamma and not is_saturated:
        verdict = Verdict.PASS
        text = f"Worse by at most {scale.said(high)}; {scale.said(rule.tolerated)} is tolerated."
    else:
        held = min(sum(len(stratum[side]) for stratum in compared.strata) for side in (0, 1))
        needed = compared.in_rounds(compared.trials(max(test.spread, compared.spread_min)) - held)
        text = (
            f"Between {scale.said(low)} and {scale.said(high)} worse: run {needed} more"
            f" trials a side to tell {scale.said(rule.tolerated)}."
        )
    if is_saturated:
        text += (
            f" Trials under one trace differ by {noise.spread:.0%}: the platform is saturated"
            " there. Compare it under less load, or by goodput or capacity."
        )
    return GateResult(
        verdict=verdict,
        reason=text,
        effect=effect,
        p=test.p_worse,
        interval=(low, high),
        effect_detectable=scale.effect(t * test.spread * compared.factor),
        trials_needed=needed,
        spread=noise.spread,
    )


_OUTSIDE = {
    Transform.LOG: "missing, infinite or not above zero: this is no comparison",
    Transform.RATIO: "missing or not a share between 0 and 1: this is no comparison",
}


def _nothing(verdict: Verdict, reason: str, needed: int = 0) -> GateResult:
    return GateResult(verdict, reason, None, None, None, None, needed)


def _arrays(side: Mapping[str, Sequence[float]]) -> dict[str, Floats]:
    """Return the traces that have trials."""
    arrays = {trace: np.asarray(numbers, dtype=np.float64) for trace, numbers in side.items()}
    return {trace: numbers for trace, numbers in arrays.items() if len(numbers)}


def _refusal(
    old: dict[str, Floats], new: dict[str, Floats], stored: dict[str, Floats], rule: GateRule
) -> GateResult | None:
    """Return why this is no comparison; None: it is one."""
    if not old and not new:
        return _nothing(Verdict.INCONCLUSIVE, "Neither side has a trial: run some.", TRIALS_MIN)
    sides = {"baseline": old, "candidate": new}
    for trace in sorted(old.keys() | new.keys()):
        for name, side in sides.items():
            if trace not in side:
                text = f"Trace {trace!r} has no trial of the {name}: run one, or drop the trace."
                return _nothing(Verdict.INVALID, text)
    domain = Scale(rule.transform, offset=rule.offset)
    for name, side in (sides | {"stored history": stored}).items():
        for trace, numbers in side.items():
            if not domain.holds(numbers):
                text = f"A trial of the {name} under trace {trace!r} has a number that is"
                return _nothing(Verdict.INVALID, f"{text} {_OUTSIDE[rule.transform]}.")
    if rule.spread_min is None and all(
        np.array_equal(np.sort(numbers), np.sort(new[trace])) for trace, numbers in old.items()
    ):
        text = "Both sides hold the same numbers: trials given twice, or counted too coarsely."
        return _nothing(Verdict.INCONCLUSIVE, text, len(old))
    return None


def _noisier(today: Noise, stored: Noise) -> Noise:
    """Return the larger noise of two, with the degrees of freedom of the better known.

    Stored noise alone misses rare bad trials, and that today is busier than the past was: it fails
    things that are equal up to twenty times too often (docs/statistics.md).
    """
    known = [noise for noise in (today, stored) if noise.freedom]
    if not known:
        return today
    return Noise(max(n.spread for n in known), max(n.freedom for n in known))
