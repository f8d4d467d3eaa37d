"""Request rows into arrays over time: what the plots draw. Missing stays NaN, never zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from faultload.measure.quantiles import by_slot
from faultload.record import Phase, RequestStatus

_NOT_FAILED = (RequestStatus.OK, RequestStatus.UNFINISHED, RequestStatus.UNSENT)
"""A stream still open at the run's end may end well; what was never sent nobody refused."""

Floats = npt.NDArray[np.float64]

BINS_MAX = 240
_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True)
class Bins:
    """Equal slices of the run.

    Attributes:
        edges: seconds since the start, one more than there are slices.
        width_s: length of a slice; 1 for runs of up to four minutes.
    """

    edges: Floats
    width_s: float

    @property
    def middles(self) -> Floats:
        """Middle of each slice."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    def __len__(self) -> int:
        """How many slices."""
        return len(self.edges) - 1


def make_bins(requests: pd.DataFrame, phases: Sequence[Phase]) -> Bins:
    """Return slices that cover every phase, or every request where no phase is known."""
    end_s = max([p.end_s for p in phases], default=0.0)
    if not end_s and len(requests):
        end_s = float(requests["due_s"].max())
    end_s = end_s if np.isfinite(end_s) and end_s > 0 else 1.0
    width = next((w for w in _WIDTHS_S if end_s / w <= BINS_MAX), end_s / BINS_MAX)
    slices = max(1, int(np.ceil(end_s / width - 1e-9)))
    edges: Floats = np.arange(slices + 1, dtype=np.float64) * float(width)
    return Bins(edges, float(width))


def sent_rows(requests: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that tell about the platform: all but those the client never sent."""
    return requests[requests["status"] != RequestStatus.UNSENT]


def failed_rows(requests: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that ended badly: not ok, not still open at the end, not unsent."""
    return requests[~requests["status"].isin(_NOT_FAILED)]


def ttft_quantiles(requests: pd.DataFrame, bins: Bins, tier: str) -> dict[float, Floats]:
    """Return p50 and p95 of the time to first token by slice of the due time.

    A request that failed counts as infinite, so a quantile may be infinite; one that still waits
    at the run's end counts with its wait so far. A slice with no request is NaN.
    """
    rows = sent_rows(requests)
    rows = rows[rows["tier"] == tier]
    ttft = (rows["first_token_s"] - rows["due_s"]).to_numpy(dtype=float, copy=True)
    waiting = (rows["status"] == RequestStatus.UNFINISHED).to_numpy() & np.isnan(ttft)
    ttft[waiting] = (rows["end_s"] - rows["due_s"]).to_numpy(dtype=float)[waiting]
    failed = ~rows["status"].isin(_NOT_FAILED).to_numpy()
    ttft[failed | np.isnan(ttft)] = np.inf
    slices, shares = _slice_of(rows["due_s"], bins), (0.5, 0.95)
    # A value that was seen: a mean of finite and infinite would be neither.
    found = by_slot(slices, ttft, len(bins), shares, is_higher=True)
    return dict(zip(shares, found, strict=True))


def failed_per_second(requests: pd.DataFrame, bins: Bins) -> dict[str, Floats]:
    """Return rates of failed requests by status, at the time the outcome was known."""
    bad = failed_rows(requests)
    slices = _slice_of(bad["end_s"].fillna(bad["due_s"]), bins)
    rates = {}
    for status in RequestStatus:
        chosen = slices[(bad["status"] == status).to_numpy()]
        if len(chosen):
            counted = np.bincount(chosen[chosen >= 0], minlength=len(bins))
            rates[str(status)] = counted / bins.width_s
    return rates


def due_per_second(requests: pd.DataFrame, bins: Bins) -> dict[str, Floats]:
    """Return rates of requests by due time: `failed`, `ok` and `other` (still open, unsent)."""
    slices = _slice_of(requests["due_s"], bins)
    status = requests["status"]
    kinds = {"failed": ~status.isin(_NOT_FAILED), "ok": status == RequestStatus.OK}
    kinds["other"] = ~kinds["failed"] & ~kinds["ok"]
    return {
        name: np.bincount(slices[(slices >= 0) & rows.to_numpy()], minlength=len(bins))
        / bins.width_s
        for name, rows in kinds.items()
    }


def tokens_per_second(requests: pd.DataFrame, bins: Bins) -> Floats:
    """Return tokens received per second, each stream's spread evenly over its life."""
    rows = requests[requests["first_token_s"].notna() & requests["last_token_s"].notna()]
    first = rows["first_token_s"].to_numpy(dtype=float)
    last = np.maximum(rows["last_token_s"].to_numpy(dtype=float), first + 1e-3)
    rate = rows["output_tokens"].to_numpy(dtype=float) / (last - first)
    return _integrate(first, last, rate, bins) / bins.width_s


def in_flight(requests: pd.DataFrame, bins: Bins) -> Floats:
    """Return the mean number of requests sent and not ended, by slice."""
    rows = requests[requests["sent_s"].notna() & requests["end_s"].notna()]
    sent, end = rows["sent_s"].to_numpy(dtype=float), rows["end_s"].to_numpy(dtype=float)
    return _integrate(sent, end, np.ones(len(rows)), bins) / bins.width_s


def empty_slices(requests: pd.DataFrame, bins: Bins) -> list[tuple[float, float]]:
    """Return stretches (start, end) in which no request was due."""
    slices = _slice_of(requests["due_s"], bins)
    seen = np.bincount(slices[slices >= 0], minlength=len(bins)) > 0
    changes = np.flatnonzero(np.diff(np.concatenate(([True], seen, [True])).astype(int)))
    return [
        (float(bins.edges[a]), float(bins.edges[b]))
        for a, b in zip(changes[::2], changes[1::2], strict=True)
    ]


def _slice_of(times: pd.Series[float], bins: Bins) -> npt.NDArray[np.int64]:
    """Return the slice of each time; -1 where the time is missing or outside."""
    values = times.to_numpy(dtype=float)
    inside = np.isfinite(values) & (values >= 0) & (values < bins.edges[-1])
    return np.where(inside, np.where(inside, values, 0) // bins.width_s, -1).astype(np.int64)


def _integrate(start: Floats, end: Floats, rate: Floats, bins: Bins) -> Floats:
    """Return, by slice, the integral of the sum of `rate` over [start, end)."""
    begun = _ramp(start, rate, bins.edges)
    ended = _ramp(np.maximum(end, start), rate, bins.edges)
    return np.maximum(0.0, np.diff(begun - ended))


def _ramp(moments: Floats, rate: Floats, at: Floats) -> Floats:
    """Return sum of rate * (t - moment) over the moments before t, for each t in `at`."""
    order = np.argsort(moments)
    rates = np.concatenate(([0.0], np.cumsum(rate[order])))
    weighted = np.concatenate(([0.0], np.cumsum((rate * moments)[order])))
    before = np.searchsorted(moments[order], at)
    ramp: Floats = rates[before] * at - weighted[before]
    return ramp
