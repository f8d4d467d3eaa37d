"""Counters as stored, into events between two instants; resets handled, missing data kept missing.

Raw samples are read at the edges of a window. PromQL's `increase` would extrapolate there, by up to
12 % over two minutes of 15-second scrapes (docs/statistics.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from faultload.record import Phase
from faultload.spec.promql import CounterSelector, parse_counter
from faultload.spec.slo import SLO, PrometheusSource

_SLACK = 2.5  # usual distances between samples: further from an edge, the edge is not known


@dataclass(frozen=True)
class Increase:
    """What one counter counted within a window.

    Attributes:
        value: events; a lower bound where not `complete`.
        resets: how often the counter began anew; up to one scrape of events is lost each time.
        complete: both edges of the window were seen.
    """

    value: float
    resets: int
    complete: bool


def increases(samples: pd.DataFrame, start_s: float, end_s: float) -> dict[str, Increase]:
    """Return the increase of each label set of one counter; a label set without samples has none.

    A label set that first appears within the window began at zero; one that was gone before the
    window is left out.

    Args:
        samples: rows of one series in the record's series schema.
        start_s: the window's start.
        end_s: the window's end.
    """
    found: dict[str, Increase] = {}
    samples = samples[np.isfinite(samples["value"].to_numpy(dtype=np.float64))]  # else: no sample
    for labels, group in samples.sort_values("t_s", kind="stable").groupby("labels", sort=True):
        times, values = group["t_s"].to_numpy(), group["value"].to_numpy()
        slack = _SLACK * float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        increase = _increase(times, values, (start_s, end_s), slack)
        if increase is not None:
            found[str(labels)] = increase
    return found


def _increase(
    times: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    window: tuple[float, float],
    slack_s: float,
) -> Increase | None:
    start_s, end_s = window
    inside = (times > start_s) & (times <= end_s)
    if not inside.any():
        return None
    before = np.flatnonzero((times <= start_s) & (times >= start_s - slack_s))
    steps = values[inside]
    complete = bool(times[inside][-1] >= end_s - slack_s)
    if len(before):
        steps = np.concatenate([values[before[-1:]], steps])
    elif (times <= start_s).any() or times[0] > start_s + slack_s:
        # Nothing was there at the start: it was born since, or came back as a new process.
        steps = np.concatenate([[0.0], steps])
    else:
        # Collected from here on only: the first sample stands in for the edge.
        complete = complete and len(steps) > 1
    rises = np.diff(steps)
    resets = rises < 0
    # After a reset the counter began at zero.
    value = float(np.where(resets, steps[1:], rises).sum())
    return Increase(value, int(resets.sum()), complete)


def counted_events(series: pd.DataFrame, slo: SLO, phase: Phase) -> tuple[float, float] | None:
    """Return (good, total) events of an SLO over a phase, from stored series.

    None: no data, or data with holes. That includes a replica that vanished within the phase: what
    it counted last was not seen. The SLO's queries must be a counter's selector, or the `sum` of
    one; others cannot be answered from a record.
    """
    source = slo.source
    if not isinstance(source, PrometheusSource):
        return None
    counts = [_total(series, query, phase) for query in (source.spec.good, source.spec.total)]
    if counts[0] is None or counts[1] is None:
        return None
    return counts[0], counts[1]


def _total(series: pd.DataFrame, query: str, phase: Phase) -> float | None:
    chosen = select(series, query)
    if chosen is None:
        return None
    found = increases(chosen, phase.start_s, phase.end_s)
    if not found or not all(increase.complete for increase in found.values()):
        return None
    return sum(increase.value for increase in found.values())


def select(series: pd.DataFrame, query: str) -> pd.DataFrame | None:
    """Return the stored rows that a PromQL selector, or the sum of one, means; None: not such."""
    selector = parse_counter(query)
    if selector is None:
        return None
    return select_rows(series, selector)


def select_rows(series: pd.DataFrame, selector: CounterSelector) -> pd.DataFrame:
    """Return the stored rows of the series that a selector means."""
    rows = series[series["series"] == selector.metric]
    keep = {text for text in rows["labels"].unique() if selector.accepts(json.loads(text))}
    return rows[rows["labels"].isin(keep)]
