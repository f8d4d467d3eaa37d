"""When requests are due: every kind of arrival process as one exact inversion.

A rate that is made of straight pieces has a cumulative rate made of parabolas. A Poisson process
of rate 1 mapped through the inverse of that curve is the wanted process: no thinning, so no draw
is wasted and a longer run repeats the shorter one exactly.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faultload.load.closed import asking_times
from faultload.spec.scenario import (
    Arrivals,
    BurstArrivals,
    ClosedArrivals,
    ConstantArrivals,
    PoissonArrivals,
    RampArrivals,
    StepArrivals,
    TraceArrivals,
)

Times = npt.NDArray[np.float64]

# Unit arrivals are summed block by block; a fixed size makes the sums, to the last bit,
# independent of how long the run is.
_BLOCK = 4096


class _Piece(NamedTuple):
    """A rate that starts at `rate_rps` and changes by `slope` requests/s² until the next piece."""

    start_s: float
    rate_rps: float
    slope: float = 0.0


def due_times(arrivals: Arrivals, duration_s: float, rng: np.random.Generator) -> Times:
    """Return the sorted due times in [0, `duration_s`), rounded to a microsecond.

    Rounding keeps the last bit of the platform's `log` out of the trace.
    """
    if isinstance(arrivals, TraceArrivals):
        raise TypeError("a trace file brings its own due times")
    if isinstance(arrivals, ClosedArrivals):
        return asking_times(arrivals, duration_s)
    if isinstance(arrivals, ConstantArrivals):
        count = math.ceil(duration_s * arrivals.rate_rps)
        due_s = np.arange(count, dtype=np.float64) / arrivals.rate_rps
    else:
        due_s = _inhomogeneous(_pieces(arrivals, duration_s), duration_s, rng)
    due_s = np.round(due_s, 6)
    return due_s[due_s < duration_s]


def expected_requests(arrivals: Arrivals, duration_s: float) -> float:
    """Return about how many requests there will be; a trace file knows better."""
    if isinstance(arrivals, TraceArrivals):
        return 0.0
    if isinstance(arrivals, ClosedArrivals):
        return float(len(asking_times(arrivals, duration_s)))
    if isinstance(arrivals, ConstantArrivals):
        return arrivals.rate_rps * duration_s
    return sum(_areas(_pieces(arrivals, duration_s), duration_s))


def _pieces(
    arrivals: PoissonArrivals | StepArrivals | RampArrivals | BurstArrivals, duration_s: float
) -> list[_Piece]:
    if isinstance(arrivals, PoissonArrivals):
        return [_Piece(0.0, arrivals.rate_rps)]
    if isinstance(arrivals, RampArrivals):
        slope = (arrivals.to_rps - arrivals.from_rps) / arrivals.over_s
        return [
            _Piece(0.0, arrivals.from_rps, slope),
            _Piece(arrivals.over_s, arrivals.to_rps),
        ]
    if isinstance(arrivals, StepArrivals):
        starts = [0.0, *np.cumsum([step.for_s for step in arrivals.steps[:-1]]).tolist()]
        return [_Piece(at, step.rate_rps) for at, step in zip(starts, arrivals.steps, strict=True)]
    # The burst closes each period, so that a run begins calm.
    calm_s = max(0.0, arrivals.every_s - arrivals.burst_s)
    pieces = []
    for period in range(math.ceil(duration_s / arrivals.every_s)):
        start_s = period * arrivals.every_s
        if calm_s:
            pieces.append(_Piece(start_s, arrivals.rate_rps))
        pieces.append(_Piece(start_s + calm_s, arrivals.burst_rps))
    return pieces


def _areas(pieces: list[_Piece], duration_s: float) -> list[float]:
    """Return how many arrivals each piece has; what begins after the end has none."""
    starts = [piece.start_s for piece in pieces]
    lengths = [
        max(0.0, min(end, duration_s) - start)
        for start, end in zip(starts, [*starts[1:], math.inf], strict=True)
    ]
    return [
        piece.rate_rps * length + piece.slope * length**2 / 2
        for piece, length in zip(pieces, lengths, strict=True)
    ]


def _inhomogeneous(pieces: list[_Piece], duration_s: float, rng: np.random.Generator) -> Times:
    areas = _areas(pieces, duration_s)
    edges = [0.0, *np.cumsum(areas).tolist()]
    unit = _unit_arrivals(edges[-1], rng)
    out = [
        piece.start_s + _time_to(unit[(unit >= low) & (unit < high)] - low, piece)
        for piece, (low, high) in zip(pieces, pairwise(edges), strict=True)
        if high > low
    ]
    return np.concatenate(out) if out else np.empty(0)


def _unit_arrivals(until: float, rng: np.random.Generator) -> Times:
    """Arrivals of a Poisson process of rate 1 on [0, until)."""
    blocks: list[Times] = []
    total = 0.0
    while total < until:
        blocks.append(total + np.cumsum(rng.standard_exponential(_BLOCK)))
        total = float(blocks[-1][-1])
    unit = np.concatenate(blocks) if blocks else np.empty(0)
    return unit[unit < until]


def _time_to(area: Times, piece: _Piece) -> Times:
    """Solve rate * t + slope * t² / 2 = area for t, in the form that loses no digits."""
    root = np.sqrt(np.maximum(piece.rate_rps**2 + 2 * piece.slope * area, 0.0))
    time_s: Times = 2 * area / (piece.rate_rps + root)
    return time_s
