"""Synthetic trials whose truth is known: requests of runs that share traces, machines and a day.

The latency of a request is, on the log scale, a sum: what its place in the trace costs (the same
in every trial of that trace), its own luck (alone, or hanging on the request before), a rare stall,
and what the whole trial has in common: the luck of the run, a walk from trial to trial, the
session. Errors come alone and in bursts of three seconds. Everything is drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

Array = npt.NDArray[np.floating]

TRACES = 5
TURNS = 3
"""So many trials a side and trace, at most."""
HISTORY = 4
"""Stored trials of the baseline, for each trace; each comes from a session of its own."""
REQUESTS = 1000
POINTS = 12
"""Parts of a trial that a time series has as points: one in ten seconds of two minutes."""
QUANTILES = {"p50 TPOT": 0.5, "p95 TTFT": 0.95}
"""Of latencies, under the names of SLIs whose rule they are judged by."""
EFFECTS = (0.0, 0.05, 0.10, 0.20)
"""Of latencies: by so much all requests are slower."""
EFFECTS_LATE = (0.0, 0.02, 0.05, 0.08)
"""Of the share of late requests, which is 5 % in the baseline: taken from the goodput."""
EFFECTS_ERRORS = (0.0, 0.003, 0.01, 0.02)
"""Of the share of failed requests: added to it, in bursts."""


@dataclass(frozen=True)
class Regime:
    """What makes trials differ. Deviations are of the logarithm of a latency.

    Attributes:
        name: as in the tables.
        says: the same in words.
        trace: of requests within a trace; the same in all its trials.
        request: of a request's own luck.
        hanging: correlation of that luck with the request before.
        stall: share of requests that stall; how long is exponential on the log scale (Pareto).
        run: of what a whole trial has in common.
        freedom: of the Student's t that `run` follows; 0: normal.
        session: of what a session has in common, to both sides alike.
        walk: of the step from one trial to the next.
        errors: share of failed requests outside bursts; 0: the regime has latencies instead.
        bursts: expected in a trial.
        burst_spread: of the logarithm of that expectation, from trial to trial.
    """

    name: str
    says: str
    trace: float = 0.5
    request: float = 0.3
    hanging: float = 0.0
    stall: float = 0.0
    run: float = 0.0
    freedom: int = 0
    session: float = 0.0
    walk: float = 0.0
    errors: float = 0.0
    bursts: float = 0.0
    burst_spread: float = 0.0


REGIMES = (
    Regime("independent", "requests of a trial are independent, and so are trials", run=0.02),
    Regime(
        "autocorrelated",
        "slow requests come together, and trials differ as a whole",
        request=0.15,
        hanging=0.97,
        run=0.02,
    ),
    Regime(
        "drifting",
        "the machines drift from trial to trial and differ from day to day",
        request=0.2,
        hanging=0.9,
        run=0.015,
        session=0.03,
        walk=0.007,
    ),
    Regime(
        "heavy-tailed",
        "requests stall, and some whole trials are far off",
        stall=0.04,
        run=0.03,
        freedom=3,
    ),
    Regime(
        "bursty errors",
        "errors come in bursts, in some trials more than in others",
        errors=0.0008,
        bursts=0.05,
        burst_spread=0.7,
    ),
)
BURST = 25
"""Requests in three seconds of the simulated load, half of which fail in a burst."""


@dataclass(frozen=True)
class Sli:
    """One number a trial.

    Attributes:
        name: of the SLI.
        old: [gate, turn, trace], of the baseline.
        new: by effect, the same of the candidate.
        history: [gate, stored trial, trace], of the baseline.
    """

    name: str
    old: Array
    new: Mapping[float, Array]
    history: Array


@dataclass(frozen=True)
class Gates:
    """Many gates' worth of trials.

    Attributes:
        slis: what each trial has.
        requests: by effect, baseline's and candidate's first trials, [gate, trace, request]:
            logarithms of latencies; of errors how many by point.
    """

    slis: Sequence[Sli]
    requests: Mapping[float, tuple[Array, Array]]


def draw(regime: Regime, gates: int, generator: np.random.Generator) -> Gates:
    """Draw trials of a thing against itself, and made worse; sides alternate in random order."""
    if regime.errors:
        return _errors(regime, gates, generator)
    today, past = _latencies(regime, gates, generator)
    first = today[:, 0, 0].copy(), today[:, 0, 1].copy()
    return Gates(
        [*_quantiles(today, past), _late(regime, today, past)],
        {effect: (first[0], first[1] + np.float32(np.log1p(effect))) for effect in EFFECTS},
    )


def _latencies(regime: Regime, gates: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Return logarithms, [gate, turn, side, trace, request] and [gate, stored, trace, request]."""
    common = regime.trace * generator.standard_normal((gates, 1, TRACES, REQUESTS), np.float32)
    today = common[:, None] + _luck(regime, (gates, TURNS, 2, TRACES, REQUESTS), generator)
    today += _levels(regime, gates, generator)[..., None].astype(np.float32)
    shape = (gates, HISTORY, TRACES)
    past = common + _luck(regime, (*shape, REQUESTS), generator)
    days = regime.session * generator.standard_normal((gates, HISTORY, 1))
    past += (_runs(regime, shape, generator) + days)[..., None].astype(np.float32)
    return today, past


def _quantiles(today: Array, past: Array) -> Iterator[Sli]:
    """Plain order statistics; sorts requests in place."""
    at = [int(q * REQUESTS) for q in QUANTILES.values()]
    for requests in (today, past):
        requests.partition(at, axis=-1)
    for name, index in zip(QUANTILES, at, strict=True):
        old, new, history = (
            np.exp(x[..., index].astype(np.float64)) for x in (today[:, :, 0], today[:, :, 1], past)
        )
        yield Sli(name, old, {effect: new * (1 + effect) for effect in EFFECTS}, history)


def _late(regime: Regime, today: Array, past: Array) -> Sli:
    """Share of requests within a limit; worse trials have a limit that so many more exceed."""
    limits = _limits(regime)
    return Sli(
        "goodput",
        (today[:, :, 0] <= limits[0.0]).mean(axis=-1),
        {effect: (today[:, :, 1] <= limit).mean(axis=-1) for effect, limit in limits.items()},
        (past <= limits[0.0]).mean(axis=-1),
    )


@cache
def _limits(regime: Regime) -> Mapping[float, np.float32]:
    """Return which latency so many requests exceed, on average over traces and trials."""
    today, _ = _latencies(regime, 100, np.random.default_rng(1))
    shares = [0.95 - effect for effect in EFFECTS_LATE]
    return dict(zip(EFFECTS_LATE, np.quantile(today, shares).astype(np.float32), strict=True))


def _errors(regime: Regime, gates: int, generator: np.random.Generator) -> Gates:
    shape = (gates, TURNS, TRACES)
    old = _error_counts(regime, shape, 0.0, generator)
    new = {effect: _error_counts(regime, shape, effect, generator) for effect in EFFECTS_ERRORS}
    past = _error_counts(regime, (gates, HISTORY, TRACES), 0.0, generator)
    ratios = {effect: counts.sum(axis=-1) / REQUESTS for effect, counts in new.items()}
    sli = Sli("error rate", old.sum(axis=-1) / REQUESTS, ratios, past.sum(axis=-1) / REQUESTS)
    return Gates([sli], {effect: (old[:, 0], counts[:, 0]) for effect, counts in new.items()})


def _error_counts(
    regime: Regime, shape: tuple[int, ...], extra: float, generator: np.random.Generator
) -> Array:
    """Return failed requests by point, [*shape, POINTS]; `extra`: share added to all, in bursts."""
    per_burst = BURST / 2 / REQUESTS
    luck = np.exp(regime.burst_spread * generator.standard_normal(shape))
    # So that the expectation is what it says, whatever the spread.
    luck /= np.exp(regime.burst_spread**2 / 2)
    rate = (regime.bursts + extra / per_burst) * luck / POINTS
    size = (*shape, POINTS)
    bursts = generator.poisson(np.broadcast_to(rate[..., None], size))
    alone = generator.poisson(regime.errors * REQUESTS / POINTS, size)
    counts = alone + generator.binomial(bursts * BURST, 0.5)
    return np.minimum(counts, REQUESTS // POINTS).astype(np.float64)


def _luck(regime: Regime, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    luck: Array = generator.standard_normal(shape, np.float32)
    if regime.hanging:
        keep = regime.hanging
        scale = np.float32(np.sqrt(1 - keep**2))
        luck[..., 0] /= scale
        luck = lfilter(scale[None], np.array([1, -keep], np.float32), luck, axis=-1)
    luck *= np.float32(regime.request)
    if regime.stall:
        stalled = generator.random(shape, np.float32) < regime.stall
        luck[stalled] += generator.standard_exponential(int(stalled.sum()), np.float32)
    return luck


def _runs(regime: Regime, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    if regime.freedom:
        return regime.run * generator.standard_t(regime.freedom, shape)
    return regime.run * generator.standard_normal(shape)


def _levels(regime: Regime, gates: int, generator: np.random.Generator) -> Array:
    """Return what each trial of a session has in common, [gate, turn, side, trace]."""
    runs = _runs(regime, (gates, TURNS, 2, TRACES), generator)
    session = regime.session * generator.standard_normal((gates, 1, 1, 1))
    steps = regime.walk * generator.standard_normal((gates, TURNS, TRACES, 2))
    walk = steps.reshape(gates, -1).cumsum(axis=1).reshape(steps.shape)
    # Which side of a pair runs first is drawn.
    swapped = generator.random((gates, TURNS, TRACES, 1)) < 1 / 2
    walk = np.where(swapped, walk[..., ::-1], walk)
    return runs + session + np.moveaxis(walk, -1, 2)
