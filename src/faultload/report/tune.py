"""What a sweep of the batch limit says: a table for a terminal, `tune.json`, and a page.

Keys of `tune.json` are a contract: they are added to, and none is renamed or removed.

schema_version   1
tune_id, verdict, exit_code, repeat, seed (null: the runs were made elsewhere)
knee             batch (null: not known), alike, text
choice           verdict, batch (null: none, or not known), alike, open, text
settings         smallest batch first; `faultload.judge.setting.Setting` field by field, and
                 `verdict`: whether the SLOs are proven to hold there

Times are seconds, ratios 0-1, prices US dollars a million output tokens. Numbers with an interval
are value, low and high (90 %). `null` is "no data"; NaN and Infinity never occur.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from faultload.errors import ExitCode
from faultload.judge.setting import Estimate, Setting
from faultload.judge.tune import Curve
from faultload.record.directory import write_json
from faultload.report import formats
from faultload.report.cost import usd
from faultload.report.machine import strict
from faultload.report.svg import Chart, LinearScale, LogScale, Size
from faultload.report.templating import html_environment
from faultload.secrecy import redacted_bytes, redacted_data

_HEAD = (
    *("batch", "running", "tokens/s", "TTFT p50", "p95", "TPOT p50", "p95", "ms/token", "in SLO"),
    *("good req/s", "KV max", "preempted", "$/1M out", "$/1M good", "SLOs"),
)
_SLOS = {"pass": "hold", "fail": "broken", "inconclusive": "not known"}
_LAYOUTS = {"wide": (1004, 64, 24), "narrow": (400, 52, 12)}
_HEIGHT, _HEADROOM = 230, 36


@dataclass(frozen=True)
class TuneReport:
    """A sweep, ready to be said.

    Attributes:
        tune_id: its directory's name.
        model: whose engines.
        curve: as judged.
        seed: of order and requests; None: the runs were made elsewhere.
        repeat: the command that repeats it.
        notes: what else a reader must know, a sentence each.
    """

    tune_id: str
    model: str
    curve: Curve
    seed: int | None
    repeat: str
    notes: Sequence[str]

    @property
    def exit_code(self) -> int:
        """0: a setting was chosen; 1: each is proven to break an SLO; 2: nothing can be said."""
        return int(ExitCode[self.curve.choice.verdict.upper()])

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data; key names are the contract of `tune.json`."""
        settings = [{**asdict(one), "verdict": one.verdict} for one in self.curve.settings]
        data = {
            "schema_version": 1,
            "tune_id": self.tune_id,
            "model": self.model,
            "verdict": self.curve.choice.verdict,
            "exit_code": self.exit_code,
            "knee": asdict(self.curve.knee),
            "choice": asdict(self.curve.choice),
            "settings": settings,
            "seed": self.seed,
            "repeat": self.repeat,
            "notes": list(self.notes),
        }
        found: dict[str, Any] = strict(data)
        return found

    def lines(self) -> list[str]:
        """Return it for a terminal or a log."""
        rows = [list(_HEAD), *(self.cells(one) for one in self.curve.settings)]
        rows = [[_line(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        said = ["  ".join(map(str.rjust, row, widths)) for row in rows]
        told = [f"  {one.batch}: {_line(text)}" for one in self.curve.settings for text in why(one)]
        notes = [f"note: {_line(note)}" for note in self.notes]
        end = [
            f"knee: {_line(self.curve.knee.text)}",
            f"cheapest that holds: {_line(self.curve.choice.text)}",
        ]
        return [f"{_line(self.model)}, by most requests in a batch", "", *said, *told, *notes, *end]

    @staticmethod
    def cells(one: Setting) -> list[str]:
        """Return a setting's row of the table, in the order of its head."""
        engines = one.engines
        return [
            str(one.batch),
            _number(engines.get("running")),
            _middle(one.tokens_per_s),
            *(formats.milliseconds(value) for value in one.ttft_s),
            *(formats.milliseconds(value) for value in one.tpot_s),
            formats.NO_DATA
            if one.normalized_s is None
            else formats.number(one.normalized_s.value * 1000),
            formats.percent(one.good_share),
            _number(one.good_per_s),
            formats.percent(engines.get("kv_usage_max")),
            formats.count(engines.get("preemptions")),
            usd(one.usd_per_1m_tokens.value if one.usd_per_1m_tokens else None),
            usd(one.usd_per_1m_good_tokens.value if one.usd_per_1m_good_tokens else None),
            "not believed" if one.problems else _SLOS[one.verdict],
        ]


def why(one: Setting) -> list[str]:
    """Return why a setting is not simply one that holds, a sentence each."""
    broken = [
        f"{held.slo}: {held.bad} of {held.events} bad, interval"
        f" {formats.percent(held.interval[0])} to {formats.percent(held.interval[1])}, budget"
        f" {formats.percent(held.budget)}"
        for held in one.slos
        if held.verdict != "pass" and held.interval
    ]
    cost = [f"cost not known: {one.cost_problem}"] if one.cost_problem else []
    return [*one.problems, *broken, *cost]


def write_tune_reports(report: TuneReport, folder: Path) -> list[Path]:
    """Write `tune.json` and `tune.html`; return their paths."""
    data, page = folder / "tune.json", folder / "tune.html"
    write_json(data, redacted_data(report.as_json()))
    page.write_bytes(redacted_bytes(render_page(report, folder).encode("utf-8", "replace")))
    return [data, page]


def render_page(report: TuneReport, folder: Path) -> str:
    """Return the page; links to the runs are relative to `folder`."""
    settings = report.curve.settings
    style = resources.files("faultload.report").joinpath("templates/report.css").read_text()
    return (
        html_environment()
        .get_template("tune.html.j2")
        .render(
            style=Markup(style),  # noqa: S704  # our own file
            report=report,
            knee=report.curve.knee,
            choice=report.curve.choice,
            head=_HEAD,
            rows=[(one, report.cells(one), why(one), _link(one, folder)) for one in settings],
            figures=_figures(report.curve),
        )
    )


@dataclass(frozen=True)
class _Line:
    """One quantity against the batch size: its style, its name and its values."""

    style: str
    label: str
    values: Sequence[Estimate | float | None]


@dataclass(frozen=True)
class _Sizes(LogScale):
    """A logarithmic scale whose ticks are the settings."""

    sizes: tuple[int, ...] = ()

    def ticks(self) -> list[float]:
        """Return the settings."""
        return [float(size) for size in self.sizes]


def _figures(curve: Curve) -> list[dict[str, Any]]:
    """Return the plots against batch size: title, legend, drawings (none: no data) of each."""
    of = curve.settings
    tokens = [
        _Line("c0", "output tokens a second", [one.tokens_per_s for one in of]),
        _Line("c2", "of those, good", [one.good_tokens_per_s for one in of]),
    ]
    first, each = (
        [
            _Line(f"{style} light", "p50, ms", [value[0] * 1000 for value in values]),
            _Line(style, "p95, ms", [value[1] * 1000 for value in values]),
        ]
        for style, values in (
            ("c1", [one.ttft_s for one in of]),
            ("c3", [one.tpot_s for one in of]),
        )
    )
    price = [
        _Line("c0", "USD a million output tokens", [one.usd_per_1m_tokens for one in of]),
        _Line("c2", "USD a million good ones", [one.usd_per_1m_good_tokens for one in of]),
    ]
    power = [_Line("c4", "power: tokens a second by s a token", [one.power for one in of])]
    plots = {
        "Throughput": tokens,
        "Time to first token": first,
        "Time per output token": each,
        "Cost": price,
        "Power": power,
    }
    return [
        _figure(curve, f"plot{index}", title, lines)
        for index, (title, lines) in enumerate(plots.items())
    ]


def _figure(curve: Curve, key: str, title: str, lines: Sequence[_Line]) -> dict[str, Any]:
    legend = [(line.style, line.label) for line in lines]
    known = [end for line in lines for value in line.values for end in _ends(value)]
    drawings = []
    for layout in _LAYOUTS if known else ():
        chart = _chart(curve, title, lines, layout, key)
        drawings.append(_painted(chart, curve, lines).render(layout))
    return {"title": title, "legend": legend, "drawings": drawings}


def _chart(curve: Curve, title: str, lines: Sequence[_Line], layout: str, key: str) -> Chart:
    """Return an empty chart over the settings, with room above the data for the markers' names."""
    width, left, right = _LAYOUTS[layout]
    size, sizes = Size(width, _HEIGHT, left, right, 8), [one.batch for one in curve.settings]
    top = max(end for line in lines for value in line.values for end in _ends(value))
    x = _Sizes(sizes[0] / 1.1, sizes[-1] * 1.1, size.left, size.plot_right, tuple(sizes))
    y = LinearScale(0.0, top or 1.0, size.plot_bottom, size.top + _HEADROOM)
    legend = ", ".join(line.label for line in lines)
    about = f"{title} by most requests in a batch: {legend}."
    chart = Chart(size, x, y, f"{key}-{layout}", title, about)
    chart.axes(formats.number, lambda value: f"{value:g}")
    return chart


def _painted(chart: Chart, curve: Curve, lines: Sequence[_Line]) -> Chart:
    """Return the chart with its lines, their intervals, knee and choice."""
    sizes = [one.batch for one in curve.settings]
    for line in lines:
        middles = [_value(value) for value in line.values]
        for at, middle, value in zip(sizes, middles, line.values, strict=True):
            low_high = _ends(value)
            if len(low_high) > 1:
                chart.line([at, at], low_high, f"{line.style} light")
            chart.line([at], [middle], line.style)
        chart.line(sizes, middles, line.style)
    if curve.knee.batch is not None:
        chart.marker(curve.knee.batch, "knee")
    if curve.choice.batch is not None:
        chart.marker(curve.choice.batch, "cheapest that holds", 26)
    return chart


def _value(value: Estimate | float | None) -> float:
    if value is None:
        return float("nan")
    return value.value if isinstance(value, Estimate) else value


def _ends(value: Estimate | float | None) -> list[float]:
    """Return the interval's ends, or the only number; empty: no data."""
    if isinstance(value, Estimate):
        return [value.low, value.high]
    return [] if formats.is_missing(value) or value is None else [value]


def _middle(value: Estimate | None) -> str:
    return formats.NO_DATA if value is None else formats.count(value.value)


def _number(value: float | None) -> str:
    return formats.number(value)


def _link(one: Setting, folder: Path) -> str:
    return Path(os.path.relpath(one.run, folder)).as_posix()


def _line(text: str) -> str:
    return " ".join(formats.clean(text).replace(formats.THIN, " ").split())
