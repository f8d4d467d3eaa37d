"""Whose noise the first look should believe, one trial a side under each trace.

Trials are drawn as numbers, without requests, so that many gates can be looked at at once; the
t test is that of `faultload.judge.look`, with the noise taken from one source or another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy import stats
from trials import HISTORY, TRACES, Array

from faultload.judge import GateRule
from faultload.judge.gate import SPREAD_MIN

GATES = 20_000
HISTORY_FREEDOM = TRACES * (HISTORY - 1)

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.normal(0, 0.05, shape)


def _heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 0.03 * generator.standard_t(3, shape)


def _far_off(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.normal(0, 0.03, shape) + 0.3 * (generator.random(shape) < 0.05)


def _skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.gamma(0.5, 0.06, shape)


NOISES: Mapping[str, tuple[Draw, float]] = {
    "normal, 5 %": (_normal, 1.0),
    "Student's t with 3 degrees, 3 %": (_heavy, 1.0),
    "normal, 3 %; one trial in 20 is 35 % slower": (_far_off, 1.0),
    "skewed (gamma 0.5)": (_skewed, 1.0),
    "normal, 5 %; half of that in the past": (_normal, 0.5),
}
"""How trials differ, and how much of it they differed when history was stored."""


def measure(generator: np.random.Generator) -> Iterator[dict[str, object]]:
    """Count false failures, passes, and failures at 10 %, of first looks."""
    for name, (draw, past) in NOISES.items():
        history = past * draw(generator, (GATES, TRACES, HISTORY))
        pairs = draw(generator, (GATES, TRACES, 2))
        residual = history - history.mean(axis=2, keepdims=True)
        stored = np.sqrt((residual**2).sum(axis=(1, 2)) / HISTORY_FREEDOM)
        differences = pairs[:, :, 1] - pairs[:, :, 0]
        today = differences.std(axis=1, ddof=1) / np.sqrt(2)
        for source, (spread, freedom) in {
            "history": (stored, HISTORY_FREEDOM),
            "today's pairs": (today, TRACES - 1),
            "the larger": (np.maximum(stored, today), HISTORY_FREEDOM),
        }.items():
            same, worse = (
                _look(differences.mean(axis=1) + np.log1p(effect), spread, freedom)
                for effect in (0.0, 0.1)
            )
            yield {
                "noise": name,
                "source": source,
                "gates": GATES,
                "false_fail": int(same[0].sum()),
                "pass": int(same[1].sum()),
                "fail": int(worse[0].sum()),
                "wrong_pass": int(worse[1].sum()),
            }


def _look(seen: Array, spread: Array, freedom: int) -> tuple[Array, Array]:
    """Return which gates fail and which pass."""
    rule = GateRule()
    error = np.maximum(spread, SPREAD_MIN) * np.sqrt(2 / TRACES)
    p_worse = stats.t.sf(seen / error, freedom)
    p_tolerated = stats.t.cdf((seen - np.log1p(rule.tolerated)) / error, freedom)
    fails = (p_worse <= rule.alpha / rule.stages) & (seen >= np.log1p(rule.effect_min))
    return fails, ~fails & (p_tolerated <= rule.gamma / rule.stages)
