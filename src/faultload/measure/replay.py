"""Would it have paged? The burn-rate alerts, replayed by promtool on what a run recorded.

A run lasts minutes and the windows hours or days. So the recorded counters are drawn out: before
the run they rose as they did between baseline and fault. To ask how long the outage would have to
last, they rise on after it as they did while it lasted. docs/slos.md says what that leaves out.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from faultload.errors import FaultloadError, MissingError, UsageError
from faultload.measure.counters import increases, select_rows
from faultload.measure.promtool import ask, find_promtool
from faultload.measure.rules import BurnAlert, burn_alerts
from faultload.measure.scrapes import Scrapes
from faultload.record import ALERT_SCHEMA, AlertState, Phase, PhaseName
from faultload.spec.slo import SLO
from faultload.spec.windows import BurnWindows

_WITHIN_S = 10.0
_THINNING = 150
"""Drawn-out samples lie apart by this share of their distance from the run, so that a rate over
any window misses at most so much of the window at its edge: 1/150."""
_TRIES = 24  # moments asked about in one round
_ROUNDS = 3  # 24³ parts of three days: to 0.1 % of what is found
_SLACK = 2.5  # usual distances between samples: further from an edge, the series was not there

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """The parts of a run that the replay needs, in seconds since its start.

    Attributes:
        baseline_s: from when its rates stand for the time before.
        fault_s: when that ends, and the outage begins.
        outage_end_s: until when its rates stand for the outage.
        end_s: the run's end.
    """

    baseline_s: float
    fault_s: float
    outage_end_s: float
    end_s: float

    @classmethod
    def of(cls, phases: Sequence[Phase]) -> Span:
        """Return the span of a run.

        Raises:
            MissingError: there was no fault after a baseline.
        """
        by_name = {phase.name: phase for phase in phases}
        baseline, fault = by_name.get(PhaseName.BASELINE), by_name.get(PhaseName.FAULT)
        if baseline is None or fault is None:
            raise MissingError("the run had no fault after a baseline")
        return cls(baseline.start_s, fault.start_s, fault.end_s, phases[-1].end_s)


def replay_alerts(
    series: pd.DataFrame,
    slos: Iterable[SLO],
    windows: BurnWindows,
    phases: Sequence[Phase],
    promtool_near: Path,
) -> pd.DataFrame:
    """Return a row in the record's alert schema for every alert of every SLO.

    Never raises: where an alert, or all of them, could not be replayed, a row says why.

    Args:
        series: raw samples, in the record's series schema.
        slos: whose alerts.
        windows: when they fire.
        phases: of the run.
        promtool_near: where to look for promtool besides PATH.
    """
    rows: list[dict[str, object]] = []
    playable: list[BurnAlert] = []
    windows = windows.model_copy(update={"matchers": {}})
    try:
        span = Span.of(phases)
        for slo in slos:
            try:
                alerts = burn_alerts(slo, windows)
            except UsageError as error:
                rows.append(_row(None, AlertState.NOT_REPLAYED, why=str(error)))
                continue
            why = _not_playable(series, slo, span)
            rows += [_row(one, AlertState.NOT_REPLAYED, why=why) for one in alerts if why]
            playable += [] if why else alerts
        if playable:
            promtool = find_promtool(promtool_near, Path.cwd())
            rows += _play(series, playable, span, promtool)
    except FaultloadError as error:
        lost: list[BurnAlert | None] = [*playable] or [None]
        rows += [_row(one, AlertState.NOT_REPLAYED, why=str(error)) for one in lost]
    return pd.DataFrame(rows, columns=ALERT_SCHEMA.names)


def nothing_replayed(why: str) -> pd.DataFrame:
    """Return the alert table of a run of which no alert could be replayed."""
    rows = [_row(None, AlertState.NOT_REPLAYED, why=why)]
    return pd.DataFrame(rows, columns=ALERT_SCHEMA.names)


def _row(  # noqa: PLR0913  # a row of the table
    alert: BurnAlert | None,
    state: AlertState,
    start_s: float = math.nan,
    end_s: float = math.nan,
    outage_to_fire_s: float = math.nan,
    why: str = "",
) -> dict[str, object]:
    return {
        "alert": alert.name if alert else "",
        "severity": alert.window.severity if alert else "",
        "start_s": start_s,
        "end_s": end_s,
        "slo": alert.slo.name if alert else "",
        "state": str(state),
        "outage_to_fire_s": outage_to_fire_s,
        "total_outage_to_fire_s": alert.fires_after_s if alert else math.nan,
        "why": why,
    }


def _not_playable(series: pd.DataFrame, slo: SLO, span: Span) -> str:
    view = slo.server_view
    if view is None:
        return ""
    for selector in (view.good, view.total):
        if select_rows(series, selector).empty:
            return f"the record has no sample of {selector.promql}"
    total, scrapes = select_rows(series, view.total), Scrapes.of(series)
    before = increases(total, span.baseline_s, span.fault_s, scrapes)
    if sum(one.value for one in before.values()) <= 0:
        return f"before the fault nothing was counted by {view.total.promql}"
    return ""


def _play(
    series: pd.DataFrame, alerts: Sequence[BurnAlert], span: Span, promtool: str
) -> list[dict[str, object]]:
    until = time.monotonic() + _WITHIN_S
    drawn = _Drawn(series, alerts, span)
    end, length = drawn.second(span.end_s), math.ceil(span.end_s - span.baseline_s)
    questions = [
        (f"{index}:{which}", f"{which}_over_time(timestamp({alert.condition})[{length}s:1s])", end)
        for index, alert in enumerate(alerts)
        for which in ("min", "max")
    ]
    found = ask(promtool, drawn.as_it_was(), questions, until - time.monotonic())
    needed = _search(drawn, alerts, promtool, until)
    rows = []
    for index, alert in enumerate(alerts):
        first, last = found.get(f"{index}:min"), found.get(f"{index}:max")
        fired = first is not None and last is not None
        rows.append(
            _row(
                alert,
                AlertState.FIRED if fired else AlertState.QUIET,
                drawn.run_time(first) if first is not None else math.nan,
                drawn.run_time(last + 1) if last is not None and last < end else math.nan,
                needed.get(index, math.nan),
            )
        )
    return rows


def _search(
    drawn: _Drawn, alerts: Sequence[BurnAlert], promtool: str, until: float
) -> dict[int, float]:
    """Return by alert how long the outage must last until it fires; left out: it never does.

    Under a steady outage an alert that fires goes on firing, and once the outage is as long as
    the long window nothing changes any more.
    """
    start = drawn.second(drawn.span.fault_s)
    series = drawn.as_if_it_lasted()
    brackets = {i: (0, alert.window.long_s + 1) for i, alert in enumerate(alerts)}
    for round_ in range(_ROUNDS):
        tries = {i: _between(*bracket) for i, bracket in brackets.items()}
        questions = [
            (f"{i}:{after}", f"timestamp({alerts[i].condition})", start + after)
            for i, moments in tries.items()
            for after in moments
        ]
        if not questions:
            break
        fired = ask(promtool, series, questions, until - time.monotonic())
        for i, moments in tries.items():
            firing = [after for after in moments if f"{i}:{after}" in fired]
            if not firing and round_ == 0:
                del brackets[i]
                continue
            low, high = brackets[i]
            high = min(firing, default=high)
            brackets[i] = max([m for m in moments if m < high], default=low), high
    return {i: float(high) for i, (_, high) in brackets.items()}


def _between(low: int, high: int) -> list[int]:
    """Return moments after `low` up to `high`, even in their ratio; none where they are next."""
    if high - low <= 1:
        return []
    steps = np.geomspace(max(1, low), high, _TRIES + 1)[0 if low == 0 else 1 :]
    return sorted({round(float(step)) for step in steps} - {low})


class _Drawn:
    """Recorded counters, drawn out before the run, and after the outage where that is asked."""

    def __init__(self, series: pd.DataFrame, alerts: Sequence[BurnAlert], span: Span) -> None:
        self.span = span
        self._pad_s = max(alert.window.long_s for alert in alerts)
        views = [view for alert in alerts if (view := alert.slo.server_view)]
        selectors = {s.promql: s for view in views for s in (view.good, view.total)}
        chosen = pd.concat([select_rows(series, one) for one in selectors.values()])
        chosen = chosen.drop_duplicates(["series", "labels", "t_s"]).sort_values("t_s")
        self._counters: dict[str, tuple[Floats, Floats]] = {}
        flat: dict[str, tuple[Floats, Floats]] = {}
        for (name, labels), group in chosen.groupby(["series", "labels"], sort=True):
            times, values = (group[c].to_numpy(dtype=np.float64) for c in ("t_s", "value"))
            # What never rose adds nothing to any rate.
            kept = self._counters if (values != values[0]).any() else flat
            kept[_selector(str(name), str(labels))] = (times, values)
        self._counters |= {} if self._counters else flat

    def second(self, t_s: float) -> int:
        """Return the second of the replay by which a moment of the run is known."""
        return self._pad_s + math.ceil(t_s - self.span.baseline_s)

    def run_time(self, second: float) -> float:
        """Return the moment of the run that a second of the replay stands for."""
        return second - self._pad_s + self.span.baseline_s

    def as_it_was(self) -> Mapping[str, str]:
        """Return promtool's notation of each counter, to the run's end."""
        return {key: self._text(*counter, lasts=False) for key, counter in self._counters.items()}

    def as_if_it_lasted(self) -> Mapping[str, str]:
        """Return the same with an outage that does not end."""
        return {key: self._text(*counter, lasts=True) for key, counter in self._counters.items()}

    def _text(self, times: Floats, values: Floats, *, lasts: bool) -> str:
        span = self.span
        interval = max(1.0, float(np.median(np.diff(times)))) if len(times) > 1 else 1.0
        end_s = span.outage_end_s if lasts else span.end_s
        inside = (times >= span.baseline_s) & (times <= end_s)
        if not inside.any():
            return "_"
        own_t, own_v = times[inside], values[inside].copy()
        points: dict[int, float] = {}
        if own_t[0] <= span.baseline_s + _SLACK * interval:
            rate = _rate(own_t, own_v, span.baseline_s, span.fault_s)
            before = -np.array(list(_ages(interval, self._pad_s)))
            lift = max(0.0, rate * self._pad_s - own_v[0])
            resets = np.flatnonzero(np.diff(own_v) < 0)
            own_v[: resets[0] + 1 if len(resets) else None] += lift  # a new process began at 0
            points |= self._placed(own_t[0] + before, own_v[0] + rate * before)
        points |= self._placed(own_t, own_v)
        if lasts and own_t[-1] >= end_s - _SLACK * interval:
            rate = _rate(own_t, own_v, span.fault_s, end_s)
            after = np.array(list(_ages(interval, self._pad_s + end_s - span.fault_s)))
            points |= self._placed(own_t[-1] + after, own_v[-1] + rate * after)
        return _notation(points)

    def _placed(self, times: Floats, values: Floats) -> dict[int, float]:
        pairs = zip(times.tolist(), values.tolist(), strict=True)
        return {second: value for t, value in pairs if (second := self.second(t)) >= 0}


def _rate(times: Floats, values: Floats, start_s: float, end_s: float) -> float:
    """Return events a second between the samples nearest to both moments; 0: under two samples."""
    inside = np.flatnonzero((times >= start_s) & (times <= end_s))
    if len(inside) and inside[0] > 0:
        inside = np.concatenate([[inside[0] - 1], inside])
    if len(inside) < 2:
        return 0.0
    rises = np.diff(values[inside])
    rose = np.where(rises < 0, values[inside][1:], rises).sum()
    return float(rose / (times[inside][-1] - times[inside][0]))


def _ages(step_s: float, until_s: float) -> Iterator[float]:
    """Yield distances from the run, further and further apart."""
    age = step_s
    while age < until_s:
        yield age
        age += max(step_s, age / _THINNING)


def _selector(name: str, labels: str) -> str:
    inner = ",".join(f"{key}={json.dumps(text)}" for key, text in json.loads(labels).items())
    return f"{name}{{{inner}}}"


def _notation(points: Mapping[int, float]) -> str:
    words, at = [], 0
    for second in sorted(points):
        if second > at:
            words.append(f"_x{second - at}")
        words.append(f"{points[second]:.4f}".rstrip("0").rstrip("."))
        at = second + 1
    return " ".join(words)
