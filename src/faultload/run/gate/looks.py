"""The one place where the running side meets the judge of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from faultload.judge import GateResult
from faultload.judge.interval import DESIGN_EFFECT
from faultload.judge.trial import Sli

Numbers = Mapping[str, Sequence[float]]
"""Trace → one number a trial, in the order of the stages."""

_judge: Any = import_module("faultload.judge.gate")


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
    sides = [_worse_is_larger(sli, side) for side in (baseline, candidate)]
    asked = {"effect_min": sli.effect_min, "tolerated": sli.tolerated, "stages": stages}
    if sli.is_share:
        spread_min = _judge.ratio_spread(max(1, requests), DESIGN_EFFECT)
        asked |= {"transform": _judge.Transform.RATIO, "spread_min": spread_min}
    rule = _judge.GateRule(**asked)
    past = _worse_is_larger(sli, history) if history else None
    found: GateResult = _judge.look(*sides, rule, stage=stage, history=past)
    return found


def _worse_is_larger(sli: Sli, side: Numbers) -> dict[str, list[float]]:
    return {trace: [sli.worse_is_larger(one) for one in own] for trace, own in side.items()}
