"""What a live gate asks of the judge: each SLI by its own rule, its numbers the right way round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from faultload.judge import GateResult, GateRule, Transform, Verdict, look
from faultload.judge.gate import ratio_spread
from faultload.judge.trial import ERRORS, GOODPUT, TTFT, Sli, Unit
from faultload.run.gate.looks import look_at

TRACES = ("t1", "t2", "t3", "t4", "t5")
SHARE = {"transform": Transform.RATIO, "spread_min": ratio_spread(1000, 12.0)}
RULES = {
    TTFT: GateRule(effect_min=0.03, tolerated=0.10, stages=2),
    ERRORS: GateRule(effect_min=0.002, tolerated=0.01, stages=2, **SHARE),  # type: ignore[arg-type]
    GOODPUT: GateRule(effect_min=0.01, tolerated=0.05, stages=2, **SHARE),  # type: ignore[arg-type]
}
Side = dict[str, list[float]]


def side(seed: int, level: float, count: int = 2, spread: float = 0.05) -> Side:
    """Return trials by trace around a level."""
    generator = np.random.default_rng(seed)
    return {t: list(level * np.exp(generator.normal(0, spread, count))) for t in TRACES}


def looked(sli: Sli, old: Side, new: Side, **changes: Any) -> GateResult:
    """Look once, and for good."""
    asked: dict[str, Any] = {"stage": 1, "stages": 1, "requests": 1000, "history": None}
    return look_at(sli, old, new, **(asked | changes))


@pytest.mark.parametrize("sli", RULES, ids=lambda sli: sli.name)
@pytest.mark.parametrize("count", [1, 2])
def test_look_is_the_judges_by_the_slis_rule(sli: Sli, count: int) -> None:
    """Looks, limits, the noise of counting and the history reach the judge as they are."""
    old, new, past = side(1, 0.6, count), side(2, 0.55, count), side(3, 0.6, 4)
    turned = [
        {trace: [1 - x if sli is GOODPUT else x for x in own] for trace, own in one.items()}
        for one in (old, new, past)
    ]

    found = looked(sli, old, new, stages=2, history=past)

    assert found == look(*turned[:2], RULES[sli], stage=1, history=turned[2])


@pytest.mark.parametrize(
    ("sli", "old", "new", "verdict"),
    [
        (TTFT, 0.5, 0.6, Verdict.FAIL),
        (TTFT, 0.6, 0.5, Verdict.PASS),
        (TTFT, 0.5, 0.51, Verdict.PASS),  # told from noise, and too little to fail
        (TTFT, 0.5, 0.52, Verdict.FAIL),
        (ERRORS, 0.0, 0.0, Verdict.PASS),
        (ERRORS, 0.001, 0.05, Verdict.FAIL),
        (GOODPUT, 0.99, 0.8, Verdict.FAIL),
        (GOODPUT, 0.8, 0.99, Verdict.PASS),
        (GOODPUT, 0.9, 0.895, Verdict.PASS),
        (Sli("share", Unit.BAD_SHARE, 0.01, 0.05), 0.2, 0.205, Verdict.PASS),
    ],
)
def test_worse_fails_and_better_passes(sli: Sli, old: float, new: float, verdict: Verdict) -> None:
    """Slower, more errors and less goodput fail; the other way round, or by too little, passes."""
    assert looked(sli, side(1, old, spread=0.001), side(2, new, spread=0.001)).verdict is verdict


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("sli", "level"), [(TTFT, 0.5), (ERRORS, 0.0), (GOODPUT, 1.0)])
def test_nothing_is_called_detectable_that_could_not_fail(
    sli: Sli, level: float, count: int
) -> None:
    """Trials that agree as if by luck find no more than fails, and no more than they can count."""
    result = looked(sli, side(1, level, count, 0.0005 * (level < 1)), side(2, level, count, 0.0))
    # Standard errors of a share of 5,000 or 10,000 requests a side, one in twelve independent.
    error = ratio_spread(1000, 12.0) * (2 / (5 * count)) ** 0.5

    assert result.effect_detectable is not None
    least = np.sin(3 * error) ** 2 if sli.is_share else sli.effect_min
    assert result.effect_detectable >= max(least, sli.effect_min)


def test_few_requests_cannot_prove_that_there_are_no_errors() -> None:
    """Sixty requests a trial without an error prove no share under a point; a thousand do."""
    none = side(1, 0.0)

    few, many = (looked(ERRORS, none, none, requests=n) for n in (60, 1000))

    assert (few.verdict, many.verdict) == (Verdict.INCONCLUSIVE, Verdict.PASS)
