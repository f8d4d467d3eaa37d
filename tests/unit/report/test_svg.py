"""Scales and drawing."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest

from faultload.report.svg import Chart, LinearScale, LogScale, Size, interval_bar


def make_chart() -> Chart:
    """Return a chart of ten seconds by ten units, one pixel margin rules aside."""
    size = Size(200, 100, left=0, right=0, top=0, bottom=0)
    return Chart(
        size, LinearScale(0, 10, 0, 200), LinearScale(0, 10, 100, 0), "k", "<title>", "said"
    )


def test_a_linear_scale_maps_both_ends_and_between() -> None:
    """Equal steps of data are equal steps of pixels, also when pixels run downwards."""
    scale = LinearScale(0, 50, 200, 100)

    assert [scale(0), scale(25), scale(50)] == [200, 150, 100]


def test_a_log_scale_maps_equal_ratios_to_equal_steps() -> None:
    """A factor of ten is the same distance everywhere; zero sits at the low end."""
    scale = LogScale(0.01, 10, 0, 300)

    assert [scale(0.01), scale(0.1), scale(1), scale(10)] == pytest.approx([0, 100, 200, 300])
    assert scale(0) == 0


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (LinearScale(0, 75, 0, 1, 10), [0, 10, 20, 30, 40, 50, 60, 70]),
        (LinearScale(0, 1, 0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (LinearScale(3, 3, 0, 1), [3]),
        (LogScale(0.05, 3, 0, 1), [0.1, 0.3, 1, 3]),
        (LogScale(0.09, 1.2, 0, 1), [0.1, 0.2, 0.5, 1]),
        (LogScale(0.001, 20, 0, 1), [0.001, 0.01, 0.1, 1, 10]),
    ],
)
def test_ticks_are_round_and_inside(scale: LinearScale | LogScale, expected: list[float]) -> None:
    """Ticks are 1, 2, 3 or 5 times a power of ten and never outside the axis."""
    assert scale.ticks() == pytest.approx(expected)


def test_an_empty_range_has_a_place() -> None:
    """A range of no length maps to its middle instead of dividing by zero."""
    assert LinearScale(3, 3, 0, 100)(3) == 50
    assert LogScale(3, 3, 0, 100)(3) == 50


def test_a_line_breaks_where_data_is_missing() -> None:
    """NaN and infinity end a line; a point between two gaps is a dot, never joined."""
    chart = make_chart()
    chart.line([0, 1, 2, 3, 4, 5], [1, 2, math.nan, 3, math.inf, 4], "c0")
    drawing = chart.render()

    assert drawing.count('class="line c0"') == 1
    assert drawing.count('class="dot c0"') == 2
    assert "M0.0 90.0L20.0 80.0" in drawing


def test_bars_stack_and_draw_nothing_for_nothing() -> None:
    """A second layer stands on the first; zero and NaN have no bar."""
    chart = make_chart()
    chart.bars([0, 5, 10], [("low", [2, 0]), ("high", [3, math.nan])])
    drawing = chart.render()

    assert "M0.5 80.0V50.0H99.5V80.0Z" in drawing
    assert drawing.count("Z") == 2


def test_a_drawing_is_well_formed_and_escaped() -> None:
    """Labels cannot break out of the drawing, whatever they hold."""
    chart = make_chart()
    chart.band(1, 2, "nodata")
    chart.ribbon(0, 9, "a <b> & \x00", "fault")
    chart.marker(9.9, '"quoted"</svg>')
    chart.limits([(5, "<limit>", "c0"), (4.9, "near", "c1")])
    chart.steps([0, 1, 2], [1, math.nan, 3], "c0")
    chart.crosses([1, math.nan], 0, "c0")
    chart.tips([0, 10], ["</title><script>"])
    chart.axes(str, str)
    root = ET.fromstring(chart.render())  # noqa: S314  # our own output

    assert root.attrib["role"] == "img"
    assert root[0].text == "<title>"
    assert "script" not in {element.tag for element in root.iter()}


def test_an_interval_bar_says_its_numbers() -> None:
    """The small bar carries its text, and an arrow where the interval leaves it."""
    inside = interval_bar("a", 0.01, (0.0, 0.02), 0.05, "1 % bad")
    outside = interval_bar("b", 0.7, (0.6, 0.8), 0.05, "70 % bad")

    assert "1 % bad" in inside
    assert "point" in inside
    assert "head" not in inside
    assert "head" in outside
    assert "point" not in outside
