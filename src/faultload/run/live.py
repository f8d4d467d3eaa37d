"""The load's rows while they arrive: numbers for the eye, and the steady-state check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from faultload.judge.slo import count_events
from faultload.record import REQUEST_SCHEMA, RequestStatus
from faultload.run.progress import LiveStats
from faultload.spec import SLO
from faultload.spec.slo import RequestsSource

_WINDOW_S = 5.0


class LiveRows:
    """Rows that have arrived so far."""

    def __init__(self, slos: Sequence[SLO]) -> None:
        """Judge against the SLOs that are counted on client rows."""
        self._slos = [slo for slo in slos if isinstance(slo.source, RequestsSource)]
        self._rows: list[Mapping[str, Any]] = []
        self._bad = 0

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take rows as the load wrote them."""
        self._rows += rows
        self._bad += sum(row["status"] != RequestStatus.OK for row in rows)

    def stats(self, now_s: float) -> LiveStats:
        """Return the last seconds in numbers."""
        recent: list[Mapping[str, Any]] = []
        for row in reversed(self._rows):
            if row["end_s"] < now_s - _WINDOW_S:
                break
            recent.append(row)
        answered = [row for row in recent if row["first_token_s"] is not None]
        ttft = [row["first_token_s"] - row["due_s"] for row in answered]
        return LiveStats(
            requests_per_s=len(recent) / _WINDOW_S,
            ttft_s_p95=float(np.quantile(ttft, 0.95)) if ttft else None,
            bad=self._bad,
            total=len(self._rows),
        )

    def ended_of(self, end_s: float) -> int:
        """Return how many requests due before `end_s` have ended."""
        return sum(row["due_s"] < end_s for row in self._rows)

    def over_budget(self, start_s: float, end_s: float) -> list[str]:
        """Return a sentence for each SLO whose bad share is over its budget, or has no data.

        Args:
            start_s: requests due from here on count,
            end_s: up to here.
        """
        frame = pd.DataFrame(self._rows, columns=REQUEST_SCHEMA.names)
        due = frame[(frame["due_s"] >= start_s) & (frame["due_s"] < end_s)]
        problems = []
        for slo in self._slos:
            counted = count_events(due, slo)
            if counted.events == 0:
                problems.append(f"{slo.name}: no request to judge it by")
            elif counted.bad > counted.events * slo.budget:
                problems.append(
                    f"{slo.name} ({slo.statement}): {counted.bad} of {counted.events} requests bad,"
                    f" {counted.bad / counted.events:.1%} where {slo.budget:.1%} is the budget"
                )
        return problems
