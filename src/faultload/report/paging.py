"""Would it have paged? The replayed alerts as a table, and the answer in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faultload.judge import AlertOutcome, Judgement
from faultload.measure.paging import IN_TIME_S, in_minutes
from faultload.record import AlertState
from faultload.report import formats
from faultload.report.evidence import evidence_id

ALERTS = evidence_id("alerts.parquet")


@dataclass(frozen=True)
class PagingRow:
    """One alert: its name, severity, what became of it, and how long outages must last for it."""

    alert: str
    severity: str
    found: str
    such: str
    total: str


@dataclass(frozen=True)
class PagingSection:
    """What the page shows.

    Attributes:
        answer: the sentence.
        rows: an alert each; empty where none was replayed.
        blind: SLOs whose alerts cannot page in time, whatever happens, in words; "" for none.
    """

    answer: str
    rows: Sequence[PagingRow]
    blind: str


def paging_section(judgement: Judgement) -> PagingSection:
    """Return the section of one run."""
    named = [outcome for outcome in judgement.alerts if outcome.alert]
    return PagingSection(_answer(judgement.alerts), [_row(one) for one in named], _blind(named))


def _answer(alerts: Sequence[AlertOutcome]) -> str:
    if not alerts:
        return "Nobody can say: the alerts were not replayed when this run was recorded."
    replayed = [one for one in alerts if one.state != AlertState.NOT_REPLAYED]
    if not replayed:
        return f"Nobody can say: {alerts[0].why}."
    pages = [one for one in replayed if one.severity == "page"]
    fired = sorted(
        (one for one in pages if one.fires_s is not None), key=lambda one: one.fires_s or 0
    )
    if fired:
        first = fired[0]
        more = f", and {len(fired) - 1} more" if len(fired) > 1 else ""
        return f"Yes: {first.alert} {_when(first)}{more}."
    due = [one for one in pages if one.outage_to_fire_s is not None]
    if not due:
        return "No, and it never would have, however long an outage like this one went on."
    soonest = min(due, key=lambda one: one.outage_to_fire_s or 0)
    lasts = in_minutes(soonest.outage_to_fire_s or 0)
    return f"No. {soonest.alert} would have paged had this outage lasted for {lasts}."


def _when(alert: AlertOutcome) -> str:
    if alert.fires_after_impact_s is None:
        return f"at {formats.offset(alert.fires_s)}"
    if alert.fires_after_impact_s < 0:
        return f"at {formats.offset(alert.fires_s)}, before users felt the fault"
    return f"{formats.seconds(alert.fires_after_impact_s)} after users first felt it"


def _row(alert: AlertOutcome) -> PagingRow:
    if alert.state == AlertState.NOT_REPLAYED:
        unknown = "not known"
        return PagingRow(
            alert.alert, alert.severity, f"not replayed: {alert.why}", unknown, _total(alert)
        )
    found = "did not fire"
    if alert.fires_s is not None:
        ends = alert.resolves_s
        until = "still firing at the end" if ends is None else f"until {formats.offset(ends)}"
        found = f"fires {_when(alert)}, {until}"
    such = "never" if alert.outage_to_fire_s is None else in_minutes(alert.outage_to_fire_s)
    return PagingRow(alert.alert, alert.severity, found, such, _total(alert))


def _total(alert: AlertOutcome) -> str:
    after = alert.total_outage_to_fire_s
    return "never" if after is None else in_minutes(after)


def _blind(alerts: Sequence[AlertOutcome]) -> str:
    soonest: dict[str, float] = {}
    for one in alerts:
        if one.severity == "page":
            after = one.total_outage_to_fire_s
            after = float("inf") if after is None else after
            soonest[one.slo] = min(after, soonest.get(one.slo, after))
    late = [slo for slo, after in soonest.items() if after > IN_TIME_S]
    if not late:
        return ""
    return (
        f"{', '.join(late)}: not even a total outage of {in_minutes(IN_TIME_S)} pages anybody. The"
        " budget is too large for these windows: promise more at a looser threshold, or add shorter"
        " windows to slos/windows.yaml."
    )
