"""Counters as stored, into events between two instants; resets handled, missing data kept missing.

Raw samples are read at the edges of a window. PromQL's `increase` would extrapolate there, by up to
12 % over two minutes of 15-second scrapes (docs/statistics.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from faultload.measure.scrapes import SLACK, Floats, Scrapes, usual
from faultload.record import Phase
from faultload.spec.promql import CounterSelector, parse_counter
from faultload.spec.slo import SLO, PrometheusSource


@dataclass(frozen=True)
class Increase:
    """What one counter counted within a window.

    Attributes:
        value: events; a lower bound where not `complete`.
        resets: how often the counter began anew; up to one scrape of events is lost each time.
        complete: both edges of the window were seen. Else what lies beside the hole is left out.
    """

    value: float
    resets: int
    complete: bool


def increases(
    samples: pd.DataFrame, start_s: float, end_s: float, scrapes: Scrapes
) -> dict[str, Increase]:
    """Return the increase of each label set of one counter; a label set without samples has none.

    A counter begins at zero where its value fell, and where its target was seen without it. One
    that merely had no sample for a while went on: what it counted meanwhile is nobody's window's.
    One that was gone before the window is left out.

    Args:
        samples: rows of one series in the record's series schema.
        start_s: the window's start.
        end_s: the window's end.
        scrapes: of the same record.
    """
    found: dict[str, Increase] = {}
    for labels, group in samples.sort_values("t_s", kind="stable").groupby("labels", sort=True):
        times, values = (group[key].to_numpy(dtype=np.float64) for key in ("t_s", "value"))
        known = np.isfinite(values)  # others are no samples
        inside = known & (times > start_s) & (times <= end_s)
        if not inside.any():
            continue
        usual_s = usual(times[known])
        around = times[known & (times >= start_s - SLACK * usual_s) & (times <= end_s)]
        zeros = np.empty(0)
        if around[0] > start_s or np.diff(around).max(initial=0.0) > 1.5 * usual_s:
            zeros = scrapes.without(json.loads(str(labels)), times)
        slack_s = SLACK * (usual_s or usual(zeros))
        at_s = np.concatenate([times[known], zeros])
        order = np.argsort(at_s, kind="stable")
        counts = np.concatenate([values[known], np.zeros_like(zeros)])[order]
        # Nobody asked: a target that came back may have begun anew before the window.
        seen = scrapes.went_on(start_s - slack_s, start_s)
        window = (start_s, end_s)
        found[str(labels)] = _increase(at_s[order], counts, window, slack_s, edge_seen=seen)
    return found


def _increase(
    times: Floats, values: Floats, window: tuple[float, float], slack_s: float, *, edge_seen: bool
) -> Increase:
    start_s, end_s = window
    inside, before = (times > start_s) & (times <= end_s), np.flatnonzero(times <= start_s)
    steps = values[inside]
    complete = bool(times[inside][-1] >= end_s - slack_s)
    if len(before) and times[before[-1]] >= start_s - slack_s:
        steps = np.concatenate([values[before[-1:]], steps])
    elif len(before) and steps[0] < values[before[-1]] and edge_seen:
        # It was not there at the start, and came back as a new process.
        steps = np.concatenate([[0.0], steps])
    else:
        # The first sample stands in for the edge, where it is near and the first of all.
        near = not len(before) and times[inside][0] <= start_s + slack_s
        complete = complete and near and len(steps) > 1
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
    scrapes, queries = Scrapes.of(series), (source.spec.good, source.spec.total)
    counts = [_total(series, query, phase, scrapes) for query in queries]
    if counts[0] is None or counts[1] is None:
        return None
    return counts[0], counts[1]


def _total(series: pd.DataFrame, query: str, phase: Phase, scrapes: Scrapes) -> float | None:
    chosen = select(series, query)
    if chosen is None:
        return None
    found = increases(chosen, phase.start_s, phase.end_s, scrapes)
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
