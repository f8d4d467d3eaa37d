"""What can end a run early, one class a condition: what came goes in, what was reached comes out.

Nothing here has a clock, a thread or a socket. Each step costs what is new since the last one.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

import numpy as np
import numpy.typing as npt

from faultload.judge.rows import Rows
from faultload.judge.slo import events_of
from faultload.spec import SLO
from faultload.spec.slo import RequestsSource
from faultload.spec.stop import BadRequests, StopQuery, StopSpec

FRESHNESS = "time() - max(timestamp(up))"
"""Age of the newest sample by Prometheus's own clock: the source of the reading about that."""

PRICE = "usd_per_h"
"""Source of the reading about what the target costs, US dollars an hour."""


MISSING_S = 30.0
"""How long a query or a price may go without data where `telemetry_missing_s` says nothing."""

_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")


@dataclass(frozen=True)
class Reading:
    """What came of asking once for something outside.

    Attributes:
        source: `FRESHNESS`, `PRICE` or a query.
        at_s: when it was asked, seconds since the run's start.
        found: a value for each series; empty: no data. NaN is no data either.
        problem: why nothing came; "" when it was answered.
    """

    source: str
    at_s: float
    found: Sequence[float]
    problem: str = ""


class Condition(Protocol):
    """One of them.

    Attributes:
        key: as files have it.
    """

    key: str

    def take(self, rows: Rows) -> None:
        """Take rows of requests that ended."""

    def hear(self, reading: Reading) -> None:
        """Take one reading."""

    def look(self, now_s: float) -> tuple[str, float]:
        """Return what was reached and since when; "" while it is not."""

    def excuse(self, now_s: float) -> None:
        """What the experiment declares in `gaps` may be missing now."""


def conditions_of(  # noqa: PLR0913  # what all of them need to know
    stop: StopSpec,
    slos: Sequence[SLO],
    gaps: Sequence[str],
    begin_s: float,
    due_s: npt.NDArray[np.float64],
    request_s_max: float,
) -> list[Condition]:
    """Return what one file's `stop` names; arguments as `Monitor`'s."""
    found: list[Condition] = []
    missing_s = stop.telemetry_missing_s or MISSING_S
    if stop.budget_percent_max is not None:
        found += [
            _Budget(slo, slo.source, stop.budget_percent_max, begin_s)
            for slo in slos
            if isinstance(slo.source, RequestsSource)
        ]
    if stop.bad_requests is not None:
        found.append(_BadShare(stop.bad_requests, begin_s))
    for query in stop.queries:
        excusable = _is_declared(query.promql, gaps)
        what = f"query {query.name} yields no data"
        found += [
            _QueryOver(query, begin_s),
            _Missing(f"queries.{query.name}", query.promql, what, missing_s, begin_s, excusable),
        ]
    if stop.telemetry_missing_s is not None:
        what, excusable = "Prometheus has no fresh samples", _is_declared("up", gaps)
        found += [
            _Missing("telemetry_missing_s", FRESHNESS, what, missing_s, begin_s, excusable),
            _RowsMissing(due_s, request_s_max + missing_s),
        ]
    if stop.tokens_max is not None:
        found.append(_Tokens(stop.tokens_max))
    if stop.usd_max is not None:
        what = "what the target costs is not known"
        found += [
            _Dollars(stop.usd_max),
            _Missing("usd_max", PRICE, what, max(missing_s, MISSING_S), 0.0, excusable=False),
        ]
    return found


def _is_declared(promql: str, gaps: Sequence[str]) -> bool:
    """Tell whether a query names a series that the fault takes away."""
    names = set(_NAME.findall(promql))
    return any(fnmatchcase(name, gap) for name in names for gap in gaps)


class _Silent:
    """Hears nothing and takes nothing: most conditions want one of the two."""

    def take(self, rows: Rows) -> None:
        pass

    def hear(self, reading: Reading) -> None:
        pass

    def excuse(self, now_s: float) -> None:
        pass


class _Held:
    """For how long something has been so, at every look since the first."""

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self.since_s: float | None = None
        self.last_s = -math.inf

    def note(self, at_s: float, *, holds: bool) -> None:
        self.last_s = at_s
        self.since_s = None if not holds else at_s if self.since_s is None else self.since_s

    @property
    def is_over(self) -> bool:
        return self.since_s is not None and self.last_s - self.since_s >= self._for_s


class _Budget(_Silent):
    """Adds up bad seconds as the judge does: of each second, the share that was bad."""

    key = "budget_percent_max"

    def __init__(
        self, slo: SLO, source: RequestsSource, percent_max: float, begin_s: float
    ) -> None:
        self._slo, self._source = slo, source
        self._percent_max, self._begin_s = percent_max, begin_s
        self._seconds: dict[int, tuple[int, int]] = {}  # events and bad ones
        self._bad_s = 0.0

    def take(self, rows: Rows) -> None:
        events = events_of(rows, self._source, None)
        for at_s, is_bad in zip(events.at_s.tolist(), events.is_bad.tolist(), strict=True):
            if at_s < self._begin_s:
                continue
            count, bad = self._seconds.get(int(at_s), (0, 0))
            self._bad_s -= bad / count if count else 0.0
            count, bad = count + 1, bad + is_bad
            self._bad_s += bad / count
            self._seconds[int(at_s)] = count, bad

    def look(self, now_s: float) -> tuple[str, float]:
        percent = 100 * self._bad_s / (self._slo.budget * self._slo.window_s)
        if percent <= self._percent_max:
            return "", now_s
        limit = f"at most {self._percent_max:g} %"
        return f"{self._slo.name} has burnt {percent:.3g} % of its error budget ({limit})", now_s


class _BadShare(_Silent):
    key = "bad_requests"

    def __init__(self, spec: BadRequests, begin_s: float) -> None:
        self._spec, self._begin_s = spec, begin_s
        self._ended: deque[tuple[float, bool]] = deque()
        self._bad = 0
        self._held = _Held(spec.for_s)

    def take(self, rows: Rows) -> None:
        counts = (rows.due >= self._begin_s) & ~rows.unsent & ~rows.unfinished
        bad = ~rows.served[counts]
        self._bad += int(bad.sum())
        self._ended += sorted(zip(rows.end[counts].tolist(), bad.tolist(), strict=True))

    def look(self, now_s: float) -> tuple[str, float]:
        spec, ended = self._spec, self._ended
        while ended and ended[0][0] <= now_s - spec.window_s:
            self._bad -= ended.popleft()[1]
        holds = len(ended) >= spec.requests_min and self._bad > spec.share_max * len(ended)
        self._held.note(now_s, holds=holds)
        if not self._held.is_over:
            return "", now_s
        text = (
            f"{self._bad} of the {len(ended)} requests that ended in the last {spec.window_s:g} s"
            f" were bad, {self._bad / len(ended):.0%} (at most {spec.share_max:.0%})"
        )
        return text, self._held.since_s or now_s


class _QueryOver(_Silent):
    """Judges by the answers' own times: while none comes, nothing gets any older."""

    def __init__(self, query: StopQuery, begin_s: float) -> None:
        self.key = f"queries.{query.name}"
        self._query, self._begin_s = query, begin_s
        self._held = _Held(query.for_s)
        self._worst = math.nan

    def hear(self, reading: Reading) -> None:
        values = [value for value in reading.found if not math.isnan(value)]
        is_early = reading.at_s < self._begin_s
        if reading.source != self._query.promql or is_early or not values:
            return
        above, below = self._query.above, self._query.below
        self._worst = max(values) if above is not None else min(values)
        over = above is not None and self._worst > above
        under = below is not None and self._worst < below
        self._held.note(reading.at_s, holds=over or under)

    def look(self, now_s: float) -> tuple[str, float]:
        if not self._held.is_over:
            return "", now_s
        query = self._query
        word, limit = ("least", query.below) if query.above is None else ("most", query.above)
        text = (
            f"query {query.name} says {self._worst:g} (at {word} {limit:g}), for {query.for_s:g} s"
        )
        return text, self._held.since_s or now_s


class _Missing(_Silent):
    """No data is never zero and never fine: what has not come for too long ends the run."""

    def __init__(  # noqa: PLR0913  # what is missed, and for how long it may be
        self,
        key: str,
        source: str,
        what: str,
        missing_s: float,
        begin_s: float,
        excusable: bool,  # noqa: FBT001  # by `gaps`
    ) -> None:
        self.key = key
        self._source, self._what, self._missing_s = source, what, missing_s
        self._excusable = excusable
        self._last_s = begin_s
        self._said = "nobody answered yet"

    def hear(self, reading: Reading) -> None:
        if reading.source != self._source:
            return
        is_whole = bool(reading.found) and not any(map(math.isnan, reading.found))
        if not is_whole:
            none = "a series without a value" if reading.found else "an answer without data"
            self._said = reading.problem or f"the last was {none}"
            return
        age_s = max(reading.found) if self._source == FRESHNESS else 0.0
        self._last_s = max(self._last_s, reading.at_s - age_s)
        self._said = f"its newest sample was {age_s:.1f} s old" if age_s else "it answered before"

    def excuse(self, now_s: float) -> None:
        if self._excusable:
            self._last_s = now_s

    def look(self, now_s: float) -> tuple[str, float]:
        since_s = self._last_s
        if now_s - since_s <= self._missing_s:
            return "", now_s
        for_s = f"for {now_s - since_s:.0f} s (at most {self._missing_s:g} s)"
        return f"{self._what} {for_s}: {self._said}", since_s


class _RowsMissing(_Silent):
    """By now the client would have given up more requests than it has told us of.

    Counted, not matched: it sees that the rows have stopped, and never that one is late.
    """

    key = "telemetry_missing_s"

    def __init__(self, due_s: npt.NDArray[np.float64], patience_s: float) -> None:
        self._due_s = due_s if np.isfinite(due_s).all() else np.empty(0)
        self._patience_s = patience_s
        self._ended = 0

    def take(self, rows: Rows) -> None:
        self._ended += len(rows.due)

    def look(self, now_s: float) -> tuple[str, float]:
        overdue_s = now_s - self._patience_s
        expected = int(np.searchsorted(self._due_s, overdue_s))
        if expected <= self._ended:
            return "", now_s
        text = f"the load client told of {self._ended} requests, and {expected} must have ended"
        return text, now_s


class _Tokens(_Silent):
    key = "tokens_max"

    def __init__(self, tokens_max: int) -> None:
        self._max = tokens_max
        self._delivered = 0.0

    def take(self, rows: Rows) -> None:
        self._delivered += float(np.nansum(rows.received))

    def look(self, now_s: float) -> tuple[str, float]:
        if self._delivered <= self._max:
            return "", now_s
        return f"{self._delivered:.0f} tokens were delivered (at most {self._max})", now_s


class _Dollars(_Silent):
    key = "usd_max"

    def __init__(self, usd_max: float) -> None:
        self._max = usd_max
        self._usd = 0.0
        self._usd_per_h: float | None = None
        self._paid_until_s = 0.0

    def hear(self, reading: Reading) -> None:
        if reading.source == PRICE and reading.found and math.isfinite(reading.found[0]):
            self._pay(reading.at_s)
            self._usd_per_h = reading.found[0]

    def look(self, now_s: float) -> tuple[str, float]:
        self._pay(now_s)
        if self._usd <= self._max:
            return "", now_s
        return f"the target has cost {self._usd:.2f} USD (at most {self._max:g})", now_s

    def _pay(self, until_s: float) -> None:
        """Add what was spent since the last time; before the first price it is still to be paid."""
        if self._usd_per_h is not None and until_s > self._paid_until_s:
            self._usd += self._usd_per_h * (until_s - self._paid_until_s) / 3600
            self._paid_until_s = until_s
