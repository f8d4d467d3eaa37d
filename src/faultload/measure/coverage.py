"""How much of what was to be scraped came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from faultload.measure.catalogue import Absence, Entry


def coverage(
    frame: pd.DataFrame,
    entries: Iterable[Entry],
    window: tuple[float, float],
    interval_s: float,
    gaps: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, float]:
    """Return by series the share of expected samples that came, 0-1; 0: it never came.

    A sample of any label set counts: a single replica that is gone shows in `up`. Left out are
    derived series, those that appear only with their first event, and those whose exporter, which
    not every platform has, never said anything.

    Args:
        frame: in the series schema.
        entries: what was to be collected.
        window: from when to when samples were due, seconds since the start.
        interval_s: between scrapes.
        gaps: by series, when it was declared that none would come.
    """
    times = {name: np.unique(group) for name, group in frame.groupby("series")["t_s"]}
    shares: dict[str, float] = {}
    for entry in entries:
        if not entry.raw or entry.absence is Absence.NOTHING_YET:
            continue
        if entry.absence is Absence.NOT_EXPORTED and entry.name not in times:
            continue
        due = missing = 0
        for start, end in _without(window, (gaps or {}).get(entry.name)):
            came = times.get(entry.name, np.empty(0))
            came = came[(came >= start) & (came <= end)]
            due_here = int((end - start) // interval_s)
            due += due_here
            missing += min(due_here, _missing(came, start, end, interval_s))
        if due:
            shares[entry.name] = 1 - missing / due
    return shares


def _missing(came: Any, start: float, end: float, interval_s: float) -> int:
    if not len(came):
        return int((end - start) // interval_s)
    # Half an interval of jitter is usual: a distance of 1.4 intervals lacks nothing.
    between = np.maximum(np.round(np.diff(came) / interval_s) - 1, 0).sum()
    edges = (came[0] - start) // interval_s + (end - came[-1]) // interval_s
    return int(between + edges)


def _without(
    window: tuple[float, float], gap: tuple[float, float] | None
) -> Iterator[tuple[float, float]]:
    start, end = window
    if gap is None or gap[0] >= end or gap[1] <= start:
        yield window
        return
    if gap[0] > start:
        yield start, gap[0]
    if gap[1] < end:
        yield gap[1], end
