"""The server's view: Prometheus series as small plots, one a series name, and ready replicas."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from faultload.report import formats
from faultload.report.evidence import evidence_id
from faultload.report.frame import Figure, Frame, Plot
from faultload.report.rates import Floats
from faultload.report.svg import Chart, LinearScale, Size

LINES_MAX = 6
"""Lines in one small plot; more cannot be told apart."""

_GAP_FACTOR = 2.5  # samples further apart than this many usual distances: something is missing
_BYTES = ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B"))
SERIES = evidence_id("series.parquet")


@dataclass(frozen=True)
class Line:
    """One label set of one series, ready to draw.

    Attributes:
        label: the labels that tell it from the others; "" when it is alone.
        times: seconds since the start.
        samples: NaN where one is missing.
    """

    label: str
    times: Sequence[float]
    samples: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One small plot.

    Attributes:
        title: the series in words, with its unit.
        name: the series' name.
        legend: (style, label).
        drawing: the plot.
        left_out: label sets that were not drawn.
    """

    title: str
    name: str
    legend: Sequence[tuple[str, str]]
    drawing: Markup
    left_out: int


def ready_figure(frame: Frame) -> Figure | None:
    """Return ready replicas over time; None: the record has no such series."""
    names = [n for n in _names(frame.facts.series) if _is_ready(n)]
    lines = [line for name in names for line in _lines(frame.facts.series, name)][:LINES_MAX]
    if not lines:
        return None
    high = max([v for line in lines for v in line.samples if math.isfinite(v)], default=1.0)

    def paint(chart: Chart) -> None:
        for i, line in enumerate(lines):
            chart.steps(line.times, line.samples, f"c{i}")

    return frame.figure(
        Plot(
            key="ready",
            title="Ready replicas",
            caption="As the platform says. Gaps: no sample.",
            legend=[(f"c{i}", line.label or "ready") for i, line in enumerate(lines)],
            evidence=SERIES,
            height=150,
            y=lambda start, end: LinearScale(0.0, high * 1.15 or 1.0, start, end, 4),
            y_text=formats.number,
            paint=paint,
            hatches_empty=False,
        )
    )


def panels(frame: Frame) -> list[Panel]:
    """Return one small plot for every series but ready replicas, in name order."""
    series = frame.facts.series
    names = [n for n in _names(series) if not _is_ready(n)]
    return [_panel(frame, name, index) for index, name in enumerate(names)]


def _panel(frame: Frame, name: str, index: int) -> Panel:
    lines = _lines(frame.facts.series, name)
    shown, left_out = lines[:LINES_MAX], max(0, len(lines) - LINES_MAX)
    high = max([v for line in shown for v in line.samples if math.isfinite(v)], default=0.0)
    low = min([v for line in shown for v in line.samples if math.isfinite(v)], default=0.0)
    title, factor, text = _unit(name, high)
    size = Size(320, 150, left=52, right=10, top=8, bottom=22)
    end = float(frame.bins.edges[-1])
    y_high = high * factor * 1.1 or 1.0
    y = LinearScale(min(0.0, low * factor), y_high, size.plot_bottom, size.top, 3)
    x = LinearScale(0.0, end, size.left, size.plot_right, 4)
    chart = Chart(size, x, y, f"panel{index}", title, f"{title} over time; gaps: no sample.")
    frame.shade_fault(chart)
    chart.axes(text, lambda v: f"{v:,g} s")
    for i, line in enumerate(shown):
        chart.line(line.times, [v * factor for v in line.samples], f"c{i}")
    legend = [(f"c{i}", line.label) for i, line in enumerate(shown) if line.label]
    return Panel(title, name, legend, chart.render(), left_out)


def _unit(name: str, high: float) -> tuple[str, float, Callable[[float], str]]:
    """Return the title, the factor to people's unit and the text of a tick, from the suffix."""
    stem, _, suffix = name.rpartition("_")
    title = formats.heading(stem)
    if suffix == "total":
        return f"{title} per second", 1.0, lambda v: f"{formats.number(v)}/s"
    if suffix == "ratio":
        return title, 1.0, formats.percent
    if suffix in ("s", "seconds"):
        return title, 1.0, formats.seconds
    if suffix == "bytes":
        power, unit = next(((p, u) for p, u in _BYTES if high >= 2**p), _BYTES[-1])
        return title, 2.0**-power, lambda v: f"{formats.number(v)} {unit}"
    return formats.heading(name), 1.0, formats.number


def _is_ready(name: str) -> bool:
    return "ready" in name.split("_")


def _names(series: pd.DataFrame) -> list[str]:
    return sorted(str(n) for n in series["series"].dropna().unique())


def _lines(series: pd.DataFrame, name: str) -> list[Line]:
    rows = series[series["series"] == name]
    groups = {str(k): g.sort_values("t_s") for k, g in rows.groupby("labels", sort=True)}
    labels = _short_labels(list(groups))
    lines = []
    for key, group in groups.items():
        times = group["t_s"].to_numpy(dtype=float)
        values = group["value"].to_numpy(dtype=float)
        if name.endswith("_total"):
            times, values = _per_second(times, values)
        lines.append(Line(labels[key], *_with_gaps(times, values)))
    return lines


def _per_second(
    times: Floats,
    values: Floats,
) -> tuple[Floats, Floats]:
    """Return a counter's rate between samples; NaN over a reset, where the rise is unknown."""
    steps = np.diff(times)
    rises = np.diff(values)
    known = (steps > 0) & (rises >= 0)
    rate = np.full(len(steps), np.nan)
    rate[known] = rises[known] / steps[known]
    return times[1:], rate


def _with_gaps(
    times: Floats,
    values: Floats,
) -> tuple[list[float], list[float]]:
    """Return the samples with a NaN wherever one or more are missing between two."""
    if len(times) < 3:
        return list(times), list(values)
    steps = np.diff(times)
    after = np.flatnonzero(steps > _GAP_FACTOR * float(np.median(steps))) + 1
    return list(np.insert(times, after, times[after])), list(np.insert(values, after, np.nan))


def _short_labels(keys: Sequence[str]) -> dict[str, str]:
    """Return for each label set the values that differ between the sets."""
    parsed = {key: _labels(key) for key in keys}
    names = sorted({n for labels in parsed.values() for n in labels})
    varying = [n for n in names if len({labels.get(n) for labels in parsed.values()}) > 1]
    return {
        key: " ".join(str(labels[n]) for n in varying if n in labels)
        for key, labels in parsed.items()
    }


def _labels(text: str) -> Mapping[str, str]:
    try:
        labels = json.loads(text)
    except json.JSONDecodeError:
        return {"labels": text}
    return labels if isinstance(labels, dict) else {"labels": text}
