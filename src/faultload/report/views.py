"""The table of what clients saw beside what the server says, by phase."""

from __future__ import annotations

from dataclasses import dataclass

from faultload.measure.views import Errors, Latency, Quantile, errors, latencies
from faultload.record import PhaseName
from faultload.report import formats
from faultload.report.facts import Facts, phase_label

QUANTILES = ("p50", "p95", "p99")
_TITLES = {
    "ttft": "Time to first token",
    "tpot": "Time per output token",
    "itl": "Gap between two tokens",
    "e2e": "Whole answer",
}
_NOT_READ = "not read"


@dataclass(frozen=True)
class ViewRow:
    """One latency, or the errors, over one phase; texts.

    Attributes:
        title: what was measured.
        phase: which part of the run; "fault" is shaded.
        cells: (client, server) for each of `QUANTILES`; one pair for the errors.
        at_edge: shares of client and server at the edges of the 95th percentile's bucket; "".
        note: what a reader must know of this row; "".
    """

    title: str
    phase: str
    cells: list[tuple[str, str]]
    at_edge: str
    note: str


def view_rows(facts: Facts) -> list[ViewRow]:
    """Return the table; empty: the record holds no series, so there is nothing to compare."""
    if facts.series.empty or facts.requests.empty:
        return []
    phases = [p for p in facts.manifest.phases if p.name is not PhaseName.WARMUP]
    found = latencies(facts.requests, facts.series, phases)
    shown = [_latency_row(one) for one in found if one.server is not None]
    wrong = errors(facts.requests, facts.series, phases)
    return shown + [_error_row(one) for one in wrong if one.server is not None]


def _latency_row(one: Latency) -> ViewRow:
    cells = [(_client(one, quantile), _bucket(quantile)) for quantile in one.quantiles]
    note = "" if one.is_complete else "server: at least these, a replica or a sample was missing"
    at_edge = _at_edge(one.quantiles[QUANTILES.index("p95")])
    return ViewRow(_TITLES[one.sli], phase_label(one.phase.name), cells, at_edge, note)


def _error_row(one: Errors) -> ViewRow:
    cells = [(formats.percent(one.client), formats.percent(one.server))]
    note = "" if one.is_complete else "server: at least these, a router or a sample was missing"
    return ViewRow("Errors", phase_label(one.phase.name), cells, "", note)


def _client(one: Latency, quantile: Quantile) -> str:
    if quantile.client_s is None:
        return _NOT_READ if one.sli == "itl" else formats.NO_DATA
    return formats.milliseconds(quantile.client_s)


def _bucket(quantile: Quantile) -> str:
    if quantile.server_s is None:
        return formats.NO_DATA
    lower, upper = quantile.server_s
    return f"{formats.milliseconds(lower)} to {formats.milliseconds(upper)}"


def _at_edge(quantile: Quantile) -> str:
    if quantile.server_s is None or quantile.server_at is None:
        return ""
    texts = []
    for place, edge in enumerate(quantile.server_s):
        if 0 < edge < float("inf"):
            server = formats.percent(quantile.server_at[place])
            client = quantile.client_at
            mine = formats.percent(client[place]) if client else _NOT_READ
            texts.append(f"≤ {formats.milliseconds(edge)}: {mine} | {server}")
    return "; ".join(texts)
