"""The server's view: Prometheus series as small plots, one a series name, and ready replicas."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from markupsafe import Markup

from faultload.measure import CATALOGUE
from faultload.report import formats
from faultload.report.evidence import evidence_id
from faultload.report.frame import Figure, Frame, Plot
from faultload.report.rates import Floats
from faultload.report.svg import Chart, LinearScale, Size

LINES_MAX = 6
"""Lines in one small plot; more cannot be told apart."""

_GAP_FACTOR = 2.5  # samples further apart than this many usual distances: something is missing
_BYTES = ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B"))
_SUFFIXES = ("total", "rate", "ratio", "perc", "s", "seconds", "bytes")
_READY = "kube_pod_status_ready"
_STILL = re.compile(r"kube_node_|kube_pod_container_resource_|node_total_")
"""What a machine is does not change while it is there: a picture of it shows nothing."""
_PLAIN = ("replica", "pod", "tier", "model_name", "outcome", "reason", "finished_reason", "code")
"""Labels that people know their platform by; others are shown only where these do not suffice."""

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
        left_out: how many label sets were not drawn, in words; "" for none.
    """

    title: str
    name: str
    legend: Sequence[tuple[str, str]]
    drawing: Markup
    left_out: str


def ready_figure(frame: Frame) -> Figure | None:
    """Return how many replicas were ready over time; None: the record does not say."""
    rows = frame.facts.series[frame.facts.series["series"] == _READY]
    rows = rows[[_labels(text).get("condition") == "true" for text in rows["labels"]]]
    if rows.empty:
        return None
    ready = rows.groupby("t_s")["value"].sum()
    times, counts = _with_gaps(ready.index.to_numpy(dtype=float), ready.to_numpy(dtype=float))
    high = max([c for c in counts if math.isfinite(c)], default=1.0)
    return frame.figure(
        Plot(
            key="ready",
            title="Ready replicas",
            caption=f"As the platform says ({_READY}). Gaps: no sample.",
            legend=[],
            evidence=SERIES,
            height=150,
            y=lambda start, end: LinearScale(0.0, high * 1.15 or 1.0, start, end, 4),
            y_text=formats.number,
            paint=lambda chart: chart.steps(times, counts, "c0"),
            hatches_empty=False,
        )
    )


def panels(frame: Frame) -> list[Panel]:
    """Return one small plot for every series worth one, in the catalogue's order."""
    found = {str(name) for name in frame.facts.series["series"].dropna().unique()}
    order = {entry.name: index for index, entry in enumerate(CATALOGUE)}
    names = sorted(found - {_READY, "up"}, key=lambda n: (order.get(n, len(order)), n))
    # Buckets and their counts feed ratios; by themselves they are no picture of anything.
    shown = [
        n for n in names if not n.endswith(("_bucket", "_count", "_sum")) and not _STILL.match(n)
    ]
    return [_panel(frame, name, index) for index, name in enumerate(shown)]


def _panel(frame: Frame, name: str, index: int) -> Panel:
    lines = sorted(_lines(frame.facts.series, name), key=_height, reverse=True)
    shown = sorted(lines[:LINES_MAX], key=lambda line: line.label)
    high = max([_height(line) for line in shown], default=0.0)
    title, factor, text = _unit(name, high)
    size = Size(320, 150, left=52, right=10, top=8, bottom=22)
    y_high = high * factor * 1.1 or 1.0
    lowest = min([v for line in shown for v in line.samples if math.isfinite(v)], default=0.0)
    y = LinearScale(min(0.0, lowest * factor), y_high, size.plot_bottom, size.top, 3)
    x = LinearScale(0.0, frame.edges[-1], size.left, size.plot_right, 4)
    chart = Chart(size, x, y, f"panel{index}", title, f"{title} over time; gaps: no sample.")
    frame.shade_fault(chart)
    chart.axes(text, lambda v: f"{v:,g} s")
    for i, line in enumerate(shown):
        chart.line(line.times, [v * factor for v in line.samples], f"c{i}")
    legend = [(f"c{i}", line.label) for i, line in enumerate(shown) if line.label]
    rest = lines[LINES_MAX:]
    left_out = ""
    if rest:
        zero = "all zero and " if _height(rest[0]) == 0 else ""
        left_out = f"{formats.count(len(rest))} more, {zero}not drawn."
    return Panel(title, name, legend, chart.render(), left_out)


def _height(line: Line) -> float:
    return max([v for v in line.samples if math.isfinite(v)], default=0.0)


def _unit(name: str, high: float) -> tuple[str, float, Callable[[float], str]]:
    """Return the title, the factor to people's unit and the text of a tick."""
    meaning, unit = next(((e.meaning, e.unit) for e in CATALOGUE if e.name == name), ("", ""))
    stem, suffix = re.fullmatch(r"(.*?)(?:[_:]([a-z]+))?", name).groups()  # type: ignore[union-attr]
    title = meaning or formats.heading(stem if suffix in _SUFFIXES else name)
    if unit in _UNITS:
        return title, *_UNITS[unit]
    if suffix == "total":
        return f"{title}, per second", 1.0, _rate
    if suffix == "bytes":
        power, of = next(((p, u) for p, u in _BYTES if high >= 2**p), _BYTES[-1])
        return title, 2.0**-power, lambda v: f"{formats.number(v)} {of}"
    return title, 1.0, _TEXTS.get(suffix, formats.number)


def _rate(value: float) -> str:
    return f"{formats.number(value)}/s"


def _with_unit(unit: str, value: float) -> str:
    return f"{formats.number(value)}{formats.THIN}{unit}"


_UNITS: Mapping[str, tuple[float, Callable[[float], str]]] = {
    "percent": (0.01, formats.percent),
    **{unit: (1.0, partial(_with_unit, unit)) for unit in ("MiB", "MHz", "W", "°C")},
}
_TEXTS: Mapping[str, Callable[[float], str]] = {
    "rate": _rate,
    "ratio": formats.percent,
    "perc": formats.percent,
    "s": formats.seconds,
    "seconds": formats.seconds,
}


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
    """Return for each label set the fewest values that tell the sets apart, plainest first."""
    parsed = {key: _labels(key) for key in keys}
    names = sorted({n for labels in parsed.values() for n in labels}, key=_plainness)
    for name in reversed(names):
        rest = [n for n in names if n != name]
        if len({tuple(labels.get(n) for n in rest) for labels in parsed.values()}) == len(parsed):
            names = rest
    return {
        key: " ".join(str(labels[n]) for n in names if n in labels)
        for key, labels in parsed.items()
    }


def _plainness(name: str) -> tuple[int, str]:
    return (_PLAIN.index(name) if name in _PLAIN else len(_PLAIN), name)


def _labels(text: str) -> Mapping[str, str]:
    try:
        labels = json.loads(text)
    except json.JSONDecodeError:
        return {"labels": text}
    return labels if isinstance(labels, dict) else {"labels": text}
