"""A small SVG drawing module: scales, and a chart over time that needs no script to be read.

Colours are CSS classes, so that one drawing serves light, dark and paper. Every text is escaped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from markupsafe import Markup, escape

from faultload.report.formats import clean

CHARACTER_PX = 6.3  # mean width of a character at 11 px; only decides what fits


class Scale(Protocol):
    """From data to pixels."""

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        ...

    def ticks(self) -> list[float]:
        """Return values worth a grid line, ascending."""
        ...


@dataclass(frozen=True)
class LinearScale:
    """Equal steps of data are equal steps of pixels.

    Attributes:
        low, high: data at both ends; they may be equal.
        start, end: their pixels.
        tick_count: about how many ticks are wanted.
    """

    low: float
    high: float
    start: float
    end: float
    tick_count: int = 5

    def __call__(self, value: float) -> float:
        """Return the pixel; of an empty range, the middle."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return multiples of 1, 2 or 5 times a power of ten inside the range."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / max(1, self.tick_count)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True)
class LogScale:
    """Equal ratios of data are equal steps of pixels; values at or under 0 sit at `low`.

    Attributes:
        low, high: data at both ends, both positive.
        start, end: their pixels.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel."""
        low, high = math.log10(self.low), math.log10(self.high)
        share = (math.log10(max(value, self.low)) - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 times powers of ten; powers alone over three decades or more."""
        decades = math.log10(self.high / self.low)
        multiples = (1,) if decades > 3 else (1, 2, 5) if decades < 1.7 else (1, 3)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [m * 10.0**p for p in powers for m in multiples]
        return [v for v in values if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]


@dataclass(frozen=True)
class Size:
    """Pixels of a drawing and of the margins around its plot."""

    width: int
    height: int
    left: int = 56
    right: int = 14
    top: int = 30
    bottom: int = 24

    @property
    def plot_right(self) -> float:
        """Right edge of the plot."""
        return self.width - self.right

    @property
    def plot_bottom(self) -> float:
        """Lower edge of the plot."""
        return self.height - self.bottom


@dataclass
class Chart:
    """One plot over time; draw with the methods, then `render`.

    Attributes:
        size: pixels.
        x: seconds since the run's start → pixels.
        y: value → pixels.
        key: unique in the page; ids are made from it.
        title, description: what a screen reader says.
    """

    size: Size
    x: Scale
    y: Scale
    key: str
    title: str
    description: str
    _parts: list[str] = field(default_factory=list)
    _needs_hatch: bool = False

    def axes(self, y_text: Callable[[float], str], x_text: Callable[[float], str]) -> None:
        """Draw grid lines with the values at left, and times below."""
        size = self.size
        for value in self.y.ticks():
            at = self.y(value)
            self._add(f'<path class="grid" d="M{size.left} {at:.1f}H{size.plot_right}"/>')
            self._text(size.left - 8, at + 3.5, y_text(value), "axis end")
        for value in self.x.ticks():
            self._text(self.x(value), size.height - 6, x_text(value), "axis mid")
        self._add(f'<path class="base" d="M{size.left} {size.plot_bottom:.1f}H{size.plot_right}"/>')

    def band(self, start: float, end: float, style: str) -> None:
        """Shade the plot from `start` to `end`."""
        x, width = self.x(start), max(1.0, self.x(end) - self.x(start))
        top, height = self.size.top, self.size.plot_bottom - self.size.top
        self._needs_hatch |= style == "nodata"
        fill = f' fill="url(#{self.key}-hatch)"' if style == "nodata" else ""
        self._add(
            f'<rect class="{style}" x="{x:.1f}" y="{top}" width="{width:.1f}"'
            f' height="{height:.1f}"{fill}/>'
        )

    def ribbon(self, start: float, end: float, label: str, style: str) -> None:
        """Mark a stretch of time above the plot; its name is left out where it does not fit."""
        x, width = self.x(start), self.x(end) - self.x(start)
        self._add(
            f'<rect class="ribbon {style}" x="{x + 0.5:.1f}" y="{self.size.top - 20}"'
            f' width="{max(1.0, width - 1):.1f}" height="14" rx="2">'
            f"<title>{_safe(label)}</title></rect>"
        )
        if len(label) * CHARACTER_PX + 4 <= width:
            self._text(x + width / 2, self.size.top - 9, label, f"ribbon-text {style} mid")

    def marker(self, at: float, label: str, down: float = 12) -> None:
        """Draw a dotted upright line; its label is beside it, `down` pixels under the top."""
        x, size = self.x(at), self.size
        self._add(f'<path class="marker" d="M{x:.1f} {size.top}V{size.plot_bottom:.1f}"/>')
        fits_right = x + 6 + len(label) * CHARACTER_PX < size.width
        style = "note halo" if fits_right else "note halo end"
        self._text(x + (5 if fits_right else -5), size.top + down, label, style)

    def limits(self, lines: Sequence[tuple[float, str, str]]) -> None:
        """Draw dashed level lines, each (value, label, style), highest first.

        Labels stand in the right margin where it is wide enough, else on the line's right end.
        """
        size = self.size
        in_margin = size.right >= 60
        last_y = -math.inf
        for value, label, style in lines:
            y = self.y(value)
            self._add(f'<path class="limit {style}" d="M{size.left} {y:.1f}H{size.plot_right}"/>')
            last_y = max(y + 4 if in_margin else y - 5, last_y + 13)
            if in_margin:
                room = int((size.right - 8) / CHARACTER_PX)
                shown = label if len(label) <= room else f"{label[: room - 1]}…"
                self._text(size.plot_right + 6, last_y, shown, f"note {style}")
            else:
                self._text(size.plot_right - 2, last_y, label, f"note halo end {style}")

    def line(self, xs: Sequence[float], ys: Sequence[float], style: str) -> None:
        """Draw a line that breaks wherever y is not finite; a lone point is a dot."""
        for run in _finite_runs(xs, ys):
            points = [f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in run]
            if len(points) == 1:
                cx, cy = points[0].split()
                self._add(f'<circle class="dot {style}" cx="{cx}" cy="{cy}" r="2"/>')
            else:
                self._add(f'<path class="line {style}" d="M{"L".join(points)}"/>')

    def steps(self, xs: Sequence[float], ys: Sequence[float], style: str) -> None:
        """Draw a line that keeps each value until the next; it breaks as `line` does."""
        for run in _finite_runs(xs, ys):
            path = f"M{self.x(run[0][0]):.1f} {self.y(run[0][1]):.1f}"
            path += "".join(f"H{self.x(x):.1f}V{self.y(y):.1f}" for x, y in run[1:])
            self._add(f'<path class="line {style}" d="{path}"/>')

    def bars(self, edges: Sequence[float], stack: Sequence[tuple[str, Sequence[float]]]) -> None:
        """Draw stacked bars between `edges`, lowest first; zero and NaN draw nothing.

        Args:
            edges: one more than there are bars.
            stack: style and heights of each layer.
        """
        floors = [0.0] * (len(edges) - 1)
        for style, heights in stack:
            path = ""
            for i, height in enumerate(heights):
                if not height > 0:  # NaN too
                    continue
                x0, x1 = self.x(edges[i]), self.x(edges[i + 1])
                gap = 1.0 if x1 - x0 > 3 else 0.0
                low, high = self.y(floors[i]), self.y(floors[i] + height)
                floors[i] += height
                path += f"M{x0 + gap / 2:.1f} {low:.1f}V{high:.1f}H{x1 - gap / 2:.1f}V{low:.1f}Z"
            if path:
                self._add(f'<path class="bar {style}" d="{path}"/>')

    def crosses(self, xs: Sequence[float], row: int, style: str) -> None:
        """Mark moments with small crosses along the plot's upper edge, in the row given."""
        y = self.size.top + 7 + 8 * row
        path = "".join(
            f"M{self.x(x) - 2.5:.1f} {y - 2.5}l5 5m0 -5l-5 5" for x in xs if math.isfinite(x)
        )
        if path:
            self._add(f'<path class="cross {style}" d="{path}"/>')

    def tips(self, edges: Sequence[float], texts: Sequence[str]) -> None:
        """Lay unseen columns over the plot whose titles the browser shows under the pointer."""
        height = self.size.plot_bottom - self.size.top
        for i, text in enumerate(texts):
            x0, x1 = self.x(edges[i]), self.x(edges[i + 1])
            self._add(
                f'<rect class="tip" x="{x0:.1f}" y="{self.size.top}" width="{x1 - x0:.1f}"'
                f' height="{height:.1f}"><title>{_safe(text)}</title></rect>'
            )

    def render(self, style: str = "") -> Markup:
        """Return the whole `<svg>` element."""
        hatch = (
            f'<defs><pattern id="{self.key}-hatch" width="6" height="6"'
            ' patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<path class="hatch" d="M0 0V6"/></pattern></defs>'
        )
        return Markup(  # noqa: S704  # every part was escaped when it was added
            f'<svg class="chart {style}" role="img" viewBox="0 0 {self.size.width}'
            f' {self.size.height}" aria-labelledby="{self.key}-t {self.key}-d">'
            f'<title id="{self.key}-t">{_safe(self.title)}</title>'
            f'<desc id="{self.key}-d">{_safe(self.description)}</desc>'
            f"{hatch if self._needs_hatch else ''}{''.join(self._parts)}</svg>"
        )

    def _text(self, x: float, y: float, text: str, style: str) -> None:
        self._add(f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{_safe(text)}</text>')

    def _add(self, part: str) -> None:
        self._parts.append(part)


def _safe(text: str) -> str:
    return str(escape(clean(text)))


def _finite_runs(xs: Sequence[float], ys: Sequence[float]) -> Iterator[list[tuple[float, float]]]:
    points = zip(xs, ys, strict=True)
    for finite, run in itertools.groupby(points, key=lambda p: math.isfinite(p[1])):
        if finite:
            yield list(run)


def interval_bar(
    key: str, ratio: float, interval: tuple[float, float] | None, budget: float, text: str
) -> Markup:
    """Return a small bar: a ratio and its interval against a budget, from 0 to twice the budget.

    What lies beyond twice the budget ends in an arrow head.
    """
    size = Size(112, 16, left=2, right=8, top=2, bottom=2)
    x = LinearScale(0.0, 2 * budget or 1.0, size.left, size.plot_right)

    def at(value: float) -> float:
        return min(x(value), size.plot_right)

    low, high = interval if interval is not None else (ratio, ratio)
    parts = [
        f'<rect class="track" x="2" y="6" width="{x(budget) - size.left:.1f}" height="4"/>',
        f'<path class="base" d="M{x(budget):.1f} 2V14"/>',
        f'<path class="span" d="M{at(low):.1f} 8H{at(high):.1f}"/>',
    ]
    if high > 2 * budget:
        parts.append(f'<path class="head" d="M{size.plot_right} 4l6 4l-6 4z"/>')
    if ratio <= 2 * budget:
        parts.append(f'<circle class="point" cx="{at(ratio):.1f}" cy="8" r="3"/>')
    return Markup(  # noqa: S704  # numbers of ours and escaped text
        f'<svg class="interval" role="img" viewBox="0 0 {size.width} {size.height}"'
        f' aria-labelledby="{key}"><title id="{key}">{_safe(text)}</title>{"".join(parts)}</svg>'
    )
