"""SLOs and burn-rate windows into Prometheus rules: ratios to record, and alerts on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

from faultload.errors import UsageError
from faultload.measure.catalogue import bucket_edges
from faultload.spec.server_view import ServerView
from faultload.spec.slo import SLO
from faultload.spec.windows import BurnWindows, Window, seconds_of

_MADE = "# Made by `faultload slo rules` from slos/{file} and slos/{windows}; change those instead."
_TO_DO = {
    "page": "Act now: see what changed, take it back or move traffic away; then find the cause.",
    "ticket": "Act in working hours: at this pace the budget is spent before its period ends.",
}
_BLIND = (
    "Nothing that its alerts are made of was scraped for {short}: no alert of this SLO can fire."
    " See that what exports it is up, and that Prometheus finds it."
)


@dataclass(frozen=True, eq=False)
class BurnAlert:
    """One alert: the error budget of one SLO burns too fast over one pair of windows.

    Attributes:
        name: of the alert.
        slo: whose budget.
        window: over what, and how fast.
        view: the counters it is made of.
        bad_events_min: how many events must be bad over the long window.
    """

    name: str
    slo: SLO
    window: Window
    view: ServerView
    bad_events_min: int

    @property
    def limit(self) -> str:
        """Share of bad events that it fires above, without floating-point dust."""
        budget = 1 - Decimal(str(self.slo.target))
        return f"{(Decimal(str(self.window.burn_rate)) * budget).normalize():f}"

    @property
    def fires_after_s(self) -> float:
        """How long a total outage lasts until it fires; infinite: it never does."""
        return self.window.fires_after_s(self.slo.budget)

    @property
    def recorded(self) -> str:
        """Its condition, on what the recording rules keep."""
        own, window = f'{{slo="{self.slo.name}"}}', self.window
        parts = [f"{_record(length)}{own} > {self.limit}" for length in (window.long, window.short)]
        enough = f"{_counted(window.long)}{own} >= {self.bad_events_min}"
        return " and ".join([*parts, enough] if self.bad_events_min > 1 else parts)

    @property
    def condition(self) -> str:
        """The same on the counters alone: each recording rule's expression in its place."""
        lengths = (self.window.long, self.window.short)
        parts = [f"({bad_ratio(self.view, length)}) > {self.limit}" for length in lengths]
        enough = f"({bad_events(self.view, self.window.long)}) >= {self.bad_events_min}"
        return " and ".join([*parts, enough] if self.bad_events_min > 1 else parts)


def bad_ratio(view: ServerView, duration: str) -> str:
    """Return PromQL for the share of bad events over the last while; nothing without events."""
    good, total = (f"sum(rate({one.promql}[{duration}]))" for one in (view.good, view.total))
    return f"1 - ({good} or vector(0)) / ({total} > 0)"


def bad_events(view: ServerView, duration: str) -> str:
    """Return PromQL for how many events were bad over the last while."""
    good, total = (f"sum(increase({one.promql}[{duration}]))" for one in (view.good, view.total))
    return f"{total} - ({good} or vector(0))"


def burn_alerts(slo: SLO, windows: BurnWindows) -> list[BurnAlert]:
    """Return the alerts of one SLO, in the windows' order; none where no server counts it.

    Raises:
        UsageError: its threshold is no edge of the histogram that stands in for its rows, or the
            windows are sized for another period than its.
    """
    view = slo.server_view
    if view is None:
        return []
    if slo.window_s != seconds_of(windows.period):
        raise UsageError(
            f"SLO {slo.name}: its period is {slo.spec.time_window[0].duration}, and the windows of"
            f" slos/windows.yaml are sized for {windows.period}; use one period for both"
        )
    edges = bucket_edges(view.good.metric)
    for label, how, text in view.good.matchers:
        if (label, how) == ("le", "=") and edges and float(text) not in (*edges, float("inf")):
            around = [max((e for e in edges if e < float(text)), default=edges[0])]
            around += [edge for edge in edges if edge > float(text)][:1]
            raise UsageError(
                f"SLO {slo.name}: {view.good.metric} has no bucket that ends at {text};"
                f" the nearest end at {' and '.join(f'{edge:g}' for edge in around)}"
            )
    view = view.narrowed(windows.matchers)
    return [
        BurnAlert(f"{_camel(slo.name)}Burn{w.long}", slo, w, view, windows.bad_events_min)
        for w in windows.windows
    ]


def rules_text(file: str, windows_file: str, slos: Iterable[SLO], windows: BurnWindows) -> str:
    """Return the rule file of one SLO file; the same input gives the same bytes.

    Args:
        file: name of the SLO file.
        windows_file: name of the file with the windows.
        slos: in it.
        windows: in the other.
    """
    groups, without = [], []
    for slo in slos:
        alerts = burn_alerts(slo, windows)
        if alerts:
            groups.append(_group(slo, alerts, windows))
        else:
            without.append(slo.name)
    head = [_MADE.format(file=file, windows=windows_file)]
    head += [
        f"# Without alerts, as no counters of a server are named: {', '.join(without)}."
    ] * bool(without)
    return as_yaml(head, {"groups": groups})


def blind_name(slo: SLO) -> str:
    """Return the name of the alert that says that no other alert of the SLO can fire."""
    return f"{_camel(slo.name)}Blind"


def as_yaml(head: Sequence[str], data: Any) -> str:
    """Return a YAML file under comments."""
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    return "\n".join([*head, text])


def _group(slo: SLO, alerts: Sequence[BurnAlert], windows: BurnWindows) -> dict[str, Any]:
    own = {"slo": slo.name, "service": slo.spec.service}
    view = alerts[0].view
    rules: list[dict[str, Any]] = [
        {"record": _record(duration), "expr": bad_ratio(view, duration), "labels": own.copy()}
        for duration in windows.durations
    ]
    if windows.bad_events_min > 1:
        longs = sorted({window.long for window in windows.windows}, key=seconds_of)
        rules += [
            {"record": _counted(long), "expr": bad_events(view, long), "labels": own.copy()}
            for long in longs
        ]
    rules += [
        {
            "alert": alert.name,
            "expr": alert.recorded,
            "labels": {"severity": alert.window.severity, **own},
            "annotations": {
                "summary": _summary(alert),
                "description": f"{_seen_by(view)} {_TO_DO[alert.window.severity]}",
                "runbook_url": f"{windows.runbook}#burn",
            },
        }
        for alert in alerts
    ]
    short = windows.durations[0]
    rules.append(
        {
            "alert": blind_name(slo),
            "expr": f"absent_over_time({view.total.promql}[{short}])",
            "labels": {"severity": "ticket", **own},
            "annotations": {
                "summary": f"{slo.name}: nobody can tell whether it is kept",
                "description": _BLIND.format(short=short),
                "runbook_url": f"{windows.runbook}#blind",
            },
        }
    )
    return {"name": f"slo:{slo.name}", "rules": rules}


def _summary(alert: BurnAlert) -> str:
    share = "{{ $value | humanizePercentage }}"
    window = alert.window
    return (
        f"{alert.slo.name}: {share} bad over {window.long}, {alert.slo.budget * 100:g}% allowed;"
        f" burn rate {window.burn_rate:g} or more"
    )


def _seen_by(view: ServerView) -> str:
    if view.nearest:
        return "As the server counts it; users may see more."
    return "As Prometheus counts it."


def _record(duration: str) -> str:
    return f"sli:bad:ratio_rate{duration}"


def _counted(duration: str) -> str:
    return f"sli:bad:events_increase{duration}"


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("-"))
