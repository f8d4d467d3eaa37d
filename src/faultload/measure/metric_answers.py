"""What a Prometheus says to each query of dashboards, rules and triggers: no data is never fine.

Only `metrics.yaml` excuses silence: a series is there only while something is so, or only after a
first event. An alert that is silent must at least have something to listen to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import promql_parser as promql

from faultload.errors import MissingError
from faultload.measure.metric_lint import ALERTS, Finding, name_of, selectors_of
from faultload.measure.prometheus import Sample
from faultload.measure.queries import Kind, Query
from faultload.spec.metrics import MetricsFile


class Asked(Protocol):
    """A Prometheus that answers instant queries."""

    def instant(self, query: str) -> list[Sample]:
        """Return the value of every series that the query yields; empty: no data."""


@dataclass(frozen=True)
class Answer:
    """What came of one query.

    Attributes:
        query: which one.
        said: in a few words, for a table.
        problem: why that is not fine; "" when it is.
    """

    query: Query
    said: str
    problem: str = ""


def answers(queries: Iterable[Query], metrics: MetricsFile, asked: Asked) -> list[Answer]:
    """Return what is answered to each query that can be parsed; one that is refused is no answer.

    Raises:
        MissingError: the Prometheus does not answer at all.
    """
    there: dict[str, bool] = {}
    asked.instant("vector(1)")

    def answer(query: Query) -> Answer:
        try:
            return _answer(query, metrics, asked, there)
        except MissingError as error:  # such as several series on both sides of a match
            return Answer(query, "", str(error))

    return [answer(query) for query in queries if _is_promql(query)]


def silent(found: Sequence[Answer]) -> list[Finding]:
    """Return a finding for each answer that is not fine."""
    return [Finding(one.query, one.problem) for one in found if one.problem]


def table(found: Sequence[Answer]) -> str:
    """Return a Markdown table of what was answered, a row a query."""
    rows = ["| file | asked by | answer |", "|--|--|--|"]
    for one in found:
        said = f"**{one.problem}**" if one.problem else one.said
        cells = (one.query.file.name, one.query.where, said)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _answer(query: Query, metrics: MetricsFile, asked: Asked, there: dict[str, bool]) -> Answer:
    got = [value for _, _, value in asked.instant(query.promql)]
    numbers = [value for value in got if not math.isnan(value)]
    if numbers and query.kind is Kind.ALERT:
        return Answer(query, f"holds for {len(got)}")
    if numbers:
        edges = sorted({f"{value:.4g}" for value in (min(numbers), max(numbers))}, key=float)
        return Answer(query, f"{len(got)} series, {' to '.join(edges)}")
    missing = _missing(query, asked, there)
    excuses = {f"{one}: {why}" for one in missing if (why := _excuse(one, metrics))}
    dead = [one for one in missing if not _excuse(one, metrics)]
    if query.kind is Kind.ALERT:
        return _silent(query, sorted(excuses), dead)
    if excuses:
        return Answer(query, f"nothing yet; {min(excuses)}")
    why = f"nothing has {dead[0]}" if dead else "although every series that it names is there"
    return Answer(query, "", f"returns {'NaN' if got else 'nothing'}: {why}")


def _silent(query: Query, excuses: Sequence[str], dead: Sequence[promql.VectorSelector]) -> Answer:
    """Return what silence of an alert means: it is to have something that it listens to."""
    if dead:
        return Answer(query, "", f"cannot fire: nothing has {dead[0]}")
    return Answer(query, "; ".join(["silent", *excuses]))


def _missing(query: Query, asked: Asked, there: dict[str, bool]) -> list[promql.VectorSelector]:
    found = []
    for selector in selectors_of(query):
        text = selector.prettify()
        if text not in there:
            there[text] = bool(asked.instant(f"count({text})"))
        if not there[text]:
            found.append(selector)
    return found


def _excuse(selector: promql.VectorSelector, metrics: MetricsFile) -> str:
    if name_of(selector) in ALERTS:
        return "only while an alert fires"
    series = metrics.by_name.get(name_of(selector))
    if series is None:
        return ""
    if series.only_while:
        return f"only while {series.only_while}"
    if series.from_first_event and selector.matchers.matchers:
        return "there from the first such event"
    return ""


def _is_promql(query: Query) -> bool:
    try:
        promql.parse(query.promql)
    except ValueError:
        return False
    return True
