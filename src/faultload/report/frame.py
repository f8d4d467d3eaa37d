"""What all plots over time share: the slices, the phases above, the fault's window shaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from faultload.record import PhaseName
from faultload.report import formats, rates
from faultload.report.facts import Facts, phase_label
from faultload.report.svg import CHARACTER_PX, Chart, LinearScale, Scale, Size

# Width, left and right margin in pixels, and ticks below: desktop and phone. The desktop's right
# margin holds the names of limit lines; a phone has no room for one.
_LAYOUTS = {"wide": (1004, 56, 124, 10), "narrow": (400, 46, 10, 4)}


@dataclass(frozen=True)
class Figure:
    """One plot with its words.

    Attributes:
        title: above the plot.
        caption: how to read it.
        legend: (style, label) of each line or layer.
        drawings: the same plot for wide and for narrow screens; empty when there is no data.
        evidence: id of the file it was drawn from.
    """

    title: str
    caption: str
    legend: Sequence[tuple[str, str]]
    drawings: Sequence[Markup]
    evidence: str


@dataclass(frozen=True)
class Plot:
    """What is one plot's own.

    Attributes:
        key: unique in the page.
        title, caption, legend, evidence: as in `Figure`.
        height: pixels.
        y: makes the scale, given the pixels of its lower and upper end.
        y_text: a value on the axis, in words.
        paint: draws the data.
        tips: one text a slice, shown under the pointer.
        headroom: pixels at the plot's top kept free of data, for marks.
        has_ribbon: whether the phases are named above.
        hatches_empty: whether stretches with no request due are hatched.
    """

    key: str
    title: str
    caption: str
    legend: Sequence[tuple[str, str]]
    evidence: str
    height: int
    y: Callable[[float, float], Scale]
    y_text: Callable[[float], str]
    paint: Callable[[Chart], None]
    tips: Sequence[str] = ()
    headroom: int = 4
    has_ribbon: bool = True
    hatches_empty: bool = True


@dataclass(frozen=True)
class Frame:
    """The time axis of a run.

    Attributes:
        facts: the run.
        bins: slices of time.
        empty: stretches without any request due.
    """

    facts: Facts
    bins: rates.Bins
    empty: Sequence[tuple[float, float]]

    @classmethod
    def of(cls, facts: Facts) -> Frame:
        """Return the frame of a run."""
        bins = rates.make_bins(facts.requests, facts.manifest.phases)
        return cls(facts, bins, rates.empty_slices(facts.requests, bins))

    @property
    def edges(self) -> list[float]:
        """Edges of the slices."""
        return [float(edge) for edge in self.bins.edges]

    @property
    def per(self) -> str:
        """`second`, or `5 s` where slices are longer."""
        return "second" if self.bins.width_s == 1 else f"{self.bins.width_s:g} s"

    def moments(self) -> list[str]:
        """Start of each slice, in words."""
        return [formats.offset(edge) for edge in self.edges[:-1]]

    def figure(self, plot: Plot) -> Figure:
        """Return the plot drawn for wide and for narrow screens."""
        drawings = [self._draw(plot, layout) for layout in _LAYOUTS]
        return Figure(plot.title, plot.caption, plot.legend, drawings, plot.evidence)

    def shade_fault(self, chart: Chart) -> None:
        """Shade the time from the first harm until the fault was proven gone."""
        window = self.facts.judgement.fault_window_s
        if window is not None:
            chart.band(*window, "fault-band")

    def _draw(self, plot: Plot, layout: str) -> Markup:
        width, left, right, ticks = _LAYOUTS[layout]
        top = 30 if plot.has_ribbon else 8
        size = Size(width, plot.height, left, right, top)
        x = LinearScale(0.0, self.edges[-1], size.left, size.plot_right, ticks)
        y = plot.y(size.plot_bottom, size.top + plot.headroom)
        legend = ", ".join(label for _, label in plot.legend)
        description = f"{plot.title}. {plot.caption} {legend}"
        chart = Chart(size, x, y, f"{plot.key}-{layout}", plot.title, description)
        if plot.hatches_empty:
            for start, end in self.empty:
                chart.band(start, end, "nodata")
        self.shade_fault(chart)
        if plot.has_ribbon:
            self._name_phases(chart)
        chart.axes(plot.y_text, lambda v: f"{v:,g} s")
        plot.paint(chart)
        if layout == "wide":  # a phone has no pointer to hover with
            chart.tips(self.edges, plot.tips)
        return chart.render(layout)

    def _name_phases(self, chart: Chart) -> None:
        for phase in self.facts.manifest.phases:
            label, style = phase_label(phase.name), ""
            if phase.name is PhaseName.FAULT:
                style, named = "fault", f"fault: {self.facts.fault_label}"
                room = chart.x(phase.end_s) - chart.x(phase.start_s)
                label = named if len(named) * CHARACTER_PX < room else label
            chart.ribbon(phase.start_s, phase.end_s, label, style)
