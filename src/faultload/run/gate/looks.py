"""The one place where the running side meets the judge of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faultload.judge import GateResult, GateRule, Transform, look
from faultload.judge.gate import ratio_spread
from faultload.judge.interval import DESIGN_EFFECT
from faultload.judge.trial import Sli

Numbers = Mapping[str, Sequence[float]]
"""Trace → one number a trial, in the order of the stages."""


def look_at(  # noqa: PLR0913  # what a look is about
    sli: Sli,
    baseline: Numbers,
    candidate: Numbers,
    *,
    stage: int,
    stages: int,
    requests: int,
    history: Numbers | None,
) -> GateResult:
    """Compare the trials so far in one SLI; whether its numbers are worse if larger, it knows.

    Args:
        sli: what is compared.
        baseline: of what is accepted.
        candidate: of what is proposed.
        stage: how many stages there have been.
        stages: how many there may be: the error rates are shared out among them.
        requests: of the shortest trial: how finely a share can be told.
        history: of a stored baseline, for the noise alone; None: there is none.
    """
    old, new = (_worse_is_larger(sli, side) for side in (baseline, candidate))
    asked: dict[str, Any] = {
        "effect_min": sli.effect_min,
        "tolerated": sli.tolerated,
        "stages": stages,
    }
    if sli.is_share:
        spread_min = ratio_spread(max(1, requests), DESIGN_EFFECT)
        asked |= {"transform": Transform.RATIO, "spread_min": spread_min}
    past = _worse_is_larger(sli, history) if history else None
    return look(old, new, GateRule(**asked), stage=stage, history=past)


def _worse_is_larger(sli: Sli, side: Numbers) -> dict[str, list[float]]:
    return {trace: [sli.worse_is_larger(one) for one in own] for trace, own in side.items()}
