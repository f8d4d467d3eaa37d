"""Quantiles of Prometheus histograms, as the interval of the bucket they lie in: all that is known.

An interpolated point inside a bucket is off by up to 97 % with vLLM's edges (docs/statistics.md),
so intervals are shown and never judged.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict

import pandas as pd

from faultload.measure.counters import increases


def quantile_interval(
    buckets: pd.DataFrame, share: float, start_s: float, end_s: float
) -> tuple[float, float] | None:
    """Return the edges of the bucket that holds a quantile of what was observed in a window.

    Args:
        buckets: rows of one `_bucket` series in the record's series schema, added over label sets.
        share: 0.95 for the 95th percentile.
        start_s: the window's start.
        end_s: the window's end.

    Returns:
        (lower, upper]; upper is infinite in the last bucket. None: nothing was observed.
    """
    cumulative: dict[float, float] = defaultdict(float)
    for labels, increase in increases(buckets, start_s, end_s).items():
        edge = float(json.loads(labels).get("le", "nan"))
        if not math.isnan(edge):
            cumulative[edge] += increase.value
    total = max(cumulative.values(), default=0.0)
    if total <= 0:
        return None
    lower = 0.0
    for edge in sorted(cumulative):
        if cumulative[edge] >= share * total:
            return lower, edge
        lower = edge
    return lower, math.inf
