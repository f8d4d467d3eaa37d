"""The plots over time: what users saw, with the SLO limits drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from faultload.report import formats, rates
from faultload.report.evidence import evidence_id
from faultload.report.facts import Facts
from faultload.report.frame import Figure, Frame, Plot
from faultload.report.svg import Chart, LinearScale, LogScale, Scale
from faultload.spec.slo import RequestsSource

REQUESTS = evidence_id("requests.parquet")

_LOG_FROM_RATIO = 20  # from here on a linear axis would squeeze the healthy part flat
_COLOURS = 6
_TTFT_CAPTION = (
    "By due time, counted from the moment a request was due. Gaps: no data. Crosses: so many"
    " failed that the quantile has no value."
)


def tiers_of(facts: Facts) -> list[str]:
    """Return the tiers seen, in name order."""
    return sorted(str(t) for t in facts.requests["tier"].dropna().unique())


@dataclass(frozen=True)
class _Ttft:
    """Time to first token of some tiers, ready to draw.

    Attributes:
        frame: the time axis.
        colours: style of each tier of the run.
        lines: values by (tier, quantile); infinite and NaN as `rates.ttft_quantiles` says.
        limits: (tier or "" for all, limit in seconds), highest first.
        shows_recovery: whether the moment of recovery is marked.
    """

    frame: Frame
    colours: Mapping[str, str]
    lines: Mapping[tuple[str, float], rates.Floats]
    limits: Sequence[tuple[str, float]]
    shows_recovery: bool

    def style(self, tier: str, quantile: float) -> str:
        return self.colours[tier] + (" light" if quantile < 0.9 else "")

    @property
    def crossed(self) -> dict[str, list[float]]:
        """Moments at which a tier's p95 was infinite."""
        found = {
            tier: [float(t) for t in self.frame.bins.middles[np.isposinf(values)]]
            for (tier, quantile), values in self.lines.items()
            if quantile > 0.9
        }
        return {tier: moments for tier, moments in found.items() if moments}

    def paint(self, chart: Chart) -> None:
        for (tier, quantile), values in self.lines.items():
            chart.line(list(self.frame.bins.middles), list(values), self.style(tier, quantile))
        for row, (tier, moments) in enumerate(self.crossed.items()):
            chart.crosses(moments, row, self.colours[tier])
        chart.limits(
            [
                (s, f"{tier or 'all'} ≤ {_axis_latency(s)}", self.colours.get(tier, ""))
                for tier, s in self.limits
            ]
        )
        facts = self.frame.facts
        window, worst = facts.judgement.fault_window_s, facts.worst_recovery
        if self.shows_recovery and window is not None and worst is not None and worst.recovery_s:
            text = f"recovered after {formats.seconds(worst.recovery_s)}"
            chart.marker(window[0] + worst.recovery_s, text, 15 + 8 * len(self.crossed))

    def tips(self) -> list[str]:
        return [
            "\n".join(
                [
                    moment,
                    *(
                        f"{tier} p{q * 100:.0f}: {formats.milliseconds(float(values[i]))}"
                        for (tier, q), values in self.lines.items()
                    ),
                ]
            )
            for i, moment in enumerate(self.frame.moments())
        ]

    def scale(self) -> Callable[[float, float], Scale]:
        seen = [float(v) for values in self.lines.values() for v in values]
        shown = [v for v in seen if math.isfinite(v) and v > 0] + [s for _, s in self.limits]
        low, high = min(shown, default=0.001), max(shown, default=1.0)
        if high / low >= _LOG_FROM_RATIO:
            return lambda start, end: LogScale(low * 0.8, high * 1.2, start, end)
        return lambda start, end: LinearScale(0.0, high * 1.1, start, end, 4)


def ttft_figure(frame: Frame, key: str, tiers: Sequence[str], quantiles: Sequence[float]) -> Figure:
    """Return the time to first token by tier, with the SLO limits on it.

    The figure with key `hero` is larger and marks the moment of recovery.
    """
    is_hero = key == "hero"
    ttft = _Ttft(
        frame=frame,
        colours={t: f"c{i % _COLOURS}" for i, t in enumerate(tiers_of(frame.facts))},
        lines={
            (tier, q): values
            for tier in tiers
            for q, values in rates.ttft_quantiles(frame.facts.requests, frame.bins, tier).items()
            if q in quantiles
        },
        limits=_ttft_limits(frame.facts, tiers),
        shows_recovery=is_hero,
    )
    names = " and ".join(f"p{q * 100:.0f}" for q in quantiles)
    of = f", {tiers[0]}" if len(tiers) == 1 else ""
    title = f"Time to first token, {names} per {frame.per}{of}"
    if all(np.all(np.isnan(values)) for values in ttft.lines.values()):
        return Figure(title, "", [], [], REQUESTS)
    scale = ttft.scale()
    is_log = isinstance(scale(1, 0), LogScale)
    return frame.figure(
        Plot(
            key=key,
            title=title,
            caption=_TTFT_CAPTION + (" Log axis." if is_log else ""),
            legend=[(ttft.style(t, q), f"{t} p{q * 100:.0f}") for t, q in ttft.lines],
            evidence=REQUESTS,
            height=270 if is_hero else 220,
            y=scale,
            y_text=_axis_latency,
            paint=ttft.paint,
            tips=ttft.tips(),
            headroom=6 + 8 * len(ttft.crossed) + (16 if is_hero else 0),
        )
    )


def errors_figure(frame: Frame, key: str) -> Figure:
    """Return requests that ended badly, per second, stacked by status.

    The figure with key `hero-errors` is a strip under another plot.
    """
    title = "Failed requests per second, by how they ended"
    if not len(frame.facts.requests):
        return Figure(title, "", [], [], REQUESTS)
    is_strip = key == "hero-errors"
    by_status = rates.failed_per_second(frame.facts.requests, frame.bins)
    totals = {s: float(values.sum()) * frame.bins.width_s for s, values in by_status.items()}
    stack = [(f"s-{status}", list(values)) for status, values in by_status.items()]
    highest = float(np.max(sum(by_status.values()))) if by_status else 0.0
    none = "" if by_status else "Not one request failed. "
    hatched = " Hatched: no request was due." if frame.empty else ""
    return frame.figure(
        Plot(
            key=key,
            title=title,
            caption=f"{none}At the time the outcome was known.{hatched}",
            legend=[
                (f"s-{s}", f"{formats.words(s)} ({formats.count(total)})")
                for s, total in totals.items()
            ],
            evidence=REQUESTS,
            height=86 if is_strip else 190,
            y=_count_scale(highest, 2 if is_strip else 4),
            y_text=_axis_rate,
            paint=lambda chart: chart.bars(frame.edges, stack),
            tips=_rate_tips(frame, {formats.words(s): v for s, v in by_status.items()}),
            has_ribbon=not is_strip,
        )
    )


def traffic_figures(frame: Frame) -> list[Figure]:
    """Return requests by outcome, requests in flight and tokens, each over time."""
    requests = frame.facts.requests
    if not len(requests):
        return []
    due = rates.due_per_second(requests, frame.bins)
    words = {"failed": "failed", "ok": "answered completely", "other": "open at the end, or unsent"}
    shown = {kind: values for kind, values in due.items() if values.any()}
    traffic = Plot(
        key="traffic",
        title="Requests per second, by due time",
        caption="What was asked, and what came of it.",
        legend=[(kind, words[kind]) for kind in shown],
        evidence=REQUESTS,
        height=180,
        y=_count_scale(float(np.max(sum(due.values()))), 4),
        y_text=_axis_rate,
        paint=lambda chart: chart.bars(frame.edges, [(k, list(v)) for k, v in shown.items()]),
        tips=_rate_tips(frame, {words[kind]: values for kind, values in shown.items()}),
    )
    flight = _line_plot(
        frame,
        "flight",
        ("Requests in flight", "Sent and not ended, mean over the slice."),
        rates.in_flight(requests, frame.bins),
        formats.number,
    )
    tokens = _line_plot(
        frame,
        "tokens-rate",
        (
            "Output tokens per second",
            "As received by clients; a stream's tokens are spread evenly over its life.",
        ),
        rates.tokens_per_second(requests, frame.bins),
        _axis_rate,
    )
    return [frame.figure(plot) for plot in (traffic, flight, tokens)]


def _line_plot(
    frame: Frame,
    key: str,
    words: tuple[str, str],
    values: rates.Floats,
    text: Callable[[float], str],
) -> Plot:
    xs, ys = list(frame.bins.middles), [float(v) for v in values]
    return Plot(
        key=key,
        title=words[0],
        caption=words[1],
        legend=[],
        evidence=REQUESTS,
        height=160,
        y=_count_scale(max(ys), 4),
        y_text=text,
        paint=lambda chart: chart.line(xs, ys, "c0"),
        tips=[f"{m}\n{text(y)}" for m, y in zip(frame.moments(), ys, strict=True)],
    )


def _rate_tips(frame: Frame, by_name: Mapping[str, rates.Floats]) -> list[str]:
    tips = []
    for i, moment in enumerate(frame.moments()):
        seen = [f"{n}: {_axis_rate(float(v[i]))}" for n, v in by_name.items() if v[i]]
        tips.append("\n".join([moment, *(seen or ["none"])]))
    return tips


def _ttft_limits(facts: Facts, tiers: Iterable[str]) -> list[tuple[str, float]]:
    """Return (tier, limit) of every SLO on the time to first token, highest limit first."""
    limits = set()
    for slo in facts.slos:
        if isinstance(slo.source, RequestsSource):
            query = slo.source.spec
            if query.condition.column == "ttft_s" and query.tier in (None, *tiers):
                limits.add((query.tier or "", query.condition.limit_s))
    return sorted(limits, key=lambda pair: -pair[1])


def _count_scale(highest: float, ticks: int) -> Callable[[float, float], Scale]:
    high = highest * 1.1 if highest > 0 else 1.0
    return lambda start, end: LinearScale(0.0, high, start, end, ticks)


def _axis_latency(value: float) -> str:
    return f"{formats.number(value)} s" if value >= 1 else formats.milliseconds(value)


def _axis_rate(value: float) -> str:
    return f"{formats.number(value)}/s"
