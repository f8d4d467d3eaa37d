"""The pure part of the abort watch: request rows and readings in, the reason to end the run out.

Requests and queries count once the warm-up is over, tokens and dollars from the load's start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from faultload.judge.rows import Rows
from faultload.run.abort.conditions import Condition, Reading, conditions_of
from faultload.spec import SLO
from faultload.spec.stop import StopSpec


@dataclass(frozen=True)
class Breach:
    """A condition that was reached.

    Attributes:
        key: of the condition, as files have it.
        text: what was seen, and the limit.
        since_s: from when on it was seen to be so, without a break.
        seen_s: when it had been so for long enough. Both in seconds since the run's start.
    """

    key: str
    text: str
    since_s: float
    seen_s: float


class Monitor:
    """Every condition of a run, looked at together about once a second."""

    def __init__(  # noqa: PLR0913  # what all of them need to know
        self,
        stops: Iterable[StopSpec],
        slos: Sequence[SLO],
        *,
        gaps: Sequence[str] = (),
        begin_s: float = 0.0,
        due_s: npt.NDArray[np.float64] | None = None,
        request_s_max: float = math.inf,
    ) -> None:
        """Watch for all conditions of all `stops`.

        Args:
            stops: what the files name.
            slos: those counted on request rows are held against a budget.
            gaps: patterns of series that the fault takes away.
            begin_s: the warm-up's end.
            due_s: when requests are due, in order; None or not finite: nobody knows.
            request_s_max: after so long the client gives a request up.
        """
        due_s = np.empty(0) if due_s is None else due_s
        self._conditions: list[Condition] = []
        for stop in stops:
            self._conditions += conditions_of(stop, slos, gaps, begin_s, due_s, request_s_max)

    def step(
        self,
        now_s: float,
        rows: Sequence[Mapping[str, Any]],
        readings: Iterable[Reading] = (),
        *,
        harmed: bool = False,
    ) -> Breach | None:
        """Take what came since the last step; return the first condition that was reached.

        Args:
            now_s: seconds since the run's start.
            rows: of requests that ended, as the load wrote them.
            readings: in the order in which they were asked.
            harmed: the fault may have begun, so what `gaps` declares is excused from now on.
        """
        if rows:
            columns = Rows.of_lines(rows)
            for condition in self._conditions:
                condition.take(columns)
        for reading in readings:
            for condition in self._conditions:
                condition.hear(reading)
        for condition in self._conditions:
            if harmed:
                condition.excuse(now_s)
            text, since_s = condition.look(now_s)
            if text:
                return Breach(condition.key, text, since_s, now_s)
        return None
