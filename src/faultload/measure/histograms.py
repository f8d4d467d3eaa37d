"""Quantiles of Prometheus histograms, as the interval of the bucket they lie in: all that is known.

An interpolated point inside a bucket is off by up to 97 % with vLLM's edges (docs/statistics.md),
so intervals are shown and never judged.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass

import pandas as pd

from faultload.measure.counters import increases
from faultload.measure.scrapes import Scrapes


@dataclass(frozen=True)
class Histogram:
    """What a histogram observed in a window, added over label sets.

    Attributes:
        cumulative: by upper edge, ascending, the observations at or under it.
        is_complete: both ends of the window were seen for every label set; else these are at least
            so many, and which bucket lacks some is not known.
    """

    cumulative: dict[float, float]
    is_complete: bool

    @property
    def total(self) -> float:
        """All observations."""
        return max(self.cumulative.values(), default=0.0)

    def interval(self, share: float) -> tuple[float, float] | None:
        """Return the edges (lower, upper] of the bucket that holds a quantile.

        The upper one is infinite in the last bucket. None: nothing was observed.
        """
        if self.total <= 0:
            return None
        lower = 0.0
        for edge, count in self.cumulative.items():
            if count >= share * self.total:
                return lower, edge
            lower = edge
        return lower, math.inf

    def share_at(self, edge: float) -> float | None:
        """Return the exact share at or under an edge, 0-1; None: no such edge, or no data."""
        if self.total <= 0:
            return None
        ends = {0.0: 0.0, math.inf: self.total}
        count = self.cumulative.get(edge, ends.get(edge))
        return None if count is None else count / self.total


def observed(buckets: pd.DataFrame, start_s: float, end_s: float, scrapes: Scrapes) -> Histogram:
    """Return what a `_bucket` series, in the record's series schema, observed in a window.

    An edge that not every label set has is left out: what the others hold under it is not known.
    `scrapes` are of the same record.
    """
    counts: dict[float, list[float]] = defaultdict(list)
    found = increases(buckets, start_s, end_s, scrapes)
    for labels, increase in found.items():
        edge = float(json.loads(labels).get("le", "nan"))
        if not math.isnan(edge):
            counts[edge].append(increase.value)
    sets = max(map(len, counts.values()), default=0)
    cumulative = {edge: sum(own) for edge, own in sorted(counts.items()) if len(own) == sets}
    return Histogram(cumulative, all(increase.complete for increase in found.values()))


def quantile_interval(
    buckets: pd.DataFrame, share: float, start_s: float, end_s: float, scrapes: Scrapes
) -> tuple[float, float] | None:
    """Return the edges of the bucket that holds a quantile, as `Histogram.interval`.

    Args:
        buckets: as for `observed`.
        share: 0.95 for the 95th percentile.
        start_s: the window's start.
        end_s: the window's end.
        scrapes: of the same record.
    """
    return observed(buckets, start_s, end_s, scrapes).interval(share)
