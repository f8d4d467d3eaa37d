"""A page of panels, drawn from the dashboards' own queries by the report's chart."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.report.svg import Chart, LinearScale, Size

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#7f7f7f")
STYLE = """
body{font:13px/1.4 system-ui,sans-serif;margin:16px;width:1160px;color:#222;background:#fff}
h1{font-size:16px;margin:0 0 8px} main{display:grid;grid-template-columns:1fr 1fr;gap:14px 20px}
h2{font-size:13px;margin:0} figure{margin:0} figcaption{font-size:11px;color:#444}
svg{width:100%;display:block} .grid{stroke:#e4e4e4} .base{stroke:#999} .axis,.note{font-size:11px;
fill:#555} .end{text-anchor:end} .mid{text-anchor:middle} .line{fill:none;stroke-width:1.4}
.limit{stroke:#c22;stroke-dasharray:5 4} .note{fill:#c22} i{display:inline-block;width:10px;
height:3px;margin:0 4px 3px 8px}
"""
STYLE += "".join(f".s{n}{{stroke:{colour}}}" for n, colour in enumerate(COLOURS))
SIZE = Size(560, 190, left=62, right=12, top=10, bottom=22)


@dataclass(frozen=True)
class Drawn:
    """One panel and what its queries returned.

    Attributes:
        title, unit: as the dashboard has them.
        limit: its red line; None: none.
        lines: by legend, seconds before now and values.
    """

    title: str
    unit: str
    limit: float | None
    lines: Mapping[str, list[tuple[float, float]]]


def panels_of(board: Path) -> list[dict[str, Any]]:
    """Return a dashboard's panels that ask something."""
    panels: list[dict[str, Any]] = json.loads(board.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in panels if panel.get("targets")]


def red_line(panel: Mapping[str, Any]) -> float | None:
    """Return where a panel turns red; None: nowhere."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    if steps[0]["color"] == "red":
        return float(steps[1]["value"])
    return next((float(step["value"]) for step in steps if step["color"] == "red"), None)


def page(title: str, drawn: list[Drawn]) -> str:
    """Return a page of HTML with a chart a panel."""
    figures = "".join(_figure(number, one) for number, one in enumerate(drawn))
    return (
        f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><main>{figures}</main>"
    )


def _figure(number: int, drawn: Drawn) -> str:
    lines = {name: points for name, points in drawn.lines.items() if points}
    values = [v for points in lines.values() for _, v in points if math.isfinite(v)]
    top = max([*values, drawn.limit or 0.0], default=1.0) or 1.0
    low = min([*values, 0.0])
    start = min((at for points in lines.values() for at, _ in points), default=-60.0)
    x = LinearScale(start, 0.0, SIZE.left, SIZE.plot_right)
    y = LinearScale(low, top * 1.08, SIZE.plot_bottom, SIZE.top, 4)
    chart = Chart(SIZE, x, y, f"p{number}", drawn.title, drawn.title)
    chart.axes(lambda value: _value(value, drawn.unit), lambda at: f"{at:.0f} s")
    if drawn.limit is not None:
        chart.limits([(drawn.limit, _value(drawn.limit, drawn.unit), "red")])
    for place, points in enumerate(lines.values()):
        style = f"s{place % len(COLOURS)}"
        chart.line([at for at, _ in points], [value for _, value in points], style)
    legend = "".join(
        f'<i style="background:{COLOURS[place % len(COLOURS)]}"></i>{html.escape(name)}'
        for place, name in enumerate(list(lines)[:10])
    )
    more = f" and {len(lines) - 10} more" if len(lines) > 10 else ""
    return (
        f"<figure><h2>{html.escape(drawn.title)}</h2>{chart.render()}"
        f"<figcaption>{legend}{more}</figcaption></figure>"
    )


def _value(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s" and abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    signs = {"s": " s", "currencyUSD": " $", "celsius": " °C", "watt": " W", "percent": " %"}
    return shown + signs.get(unit, "")
