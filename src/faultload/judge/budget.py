"""What the fault cost: error budget spent and streams lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faultload.judge.interval import slot_events
from faultload.judge.model import BudgetSpent
from faultload.judge.rows import Rows
from faultload.judge.slo import Events, bad_of
from faultload.record import Phase, PhaseName
from faultload.spec.slo import SLO

BURN_S = 10
"""The largest burn rate is taken over this long."""


def spend_budget(slo: SLO, events: Events, harm_s: float, end_s: float) -> BudgetSpent:
    """Add up full-outage-equivalent minutes, second by second, from the harm to the run's end."""
    slots = slot_events(events.at_s, events.is_bad, harm_s, max(harm_s, end_s))
    width = np.ones(len(slots.events))
    if len(width):
        width[-1] = end_s - harm_s - (len(width) - 1)
    ratio = np.divide(slots.bad, slots.events, out=np.zeros_like(width), where=slots.events > 0)
    window = np.ones(min(BURN_S, len(width)))
    burn = None
    if slots.events.any():
        bad, count = (np.convolve(x, window, "valid") for x in (slots.bad, slots.events))
        burn = float(np.max(bad[count > 0] / count[count > 0])) / slo.budget
    return _spent(slo, float(ratio @ width) / 60, burn)


def spend_counted(
    slo: SLO,
    counted: Sequence[tuple[Phase, tuple[float, float] | None]],
    scrape_interval_s: float,
) -> BudgetSpent | None:
    """Do the same for an SLO counted by Prometheus, a phase at a time; None: a count is missing."""
    minutes = 0.0
    for phase, pair in counted:
        if phase.name not in (PhaseName.FAULT, PhaseName.RECOVERY):
            continue
        if (found := bad_of(phase, pair, scrape_interval_s)) is None:
            return None
        minutes += found[0] / found[1] * (phase.end_s - phase.start_s) / 60
    return _spent(slo, minutes, None)


def count_streams_lost(rows: Rows, harm_s: float | None) -> int:
    """Count streams that began and did not finish, from the first harm on."""
    return 0 if harm_s is None else int((rows.broke & (rows.end >= harm_s)).sum())


def _spent(slo: SLO, bad_minutes: float, burn_rate_max: float | None) -> BudgetSpent:
    budget_minutes = slo.budget * slo.window_s / 60
    percent = 100 * bad_minutes / budget_minutes
    return BudgetSpent(slo.name, bad_minutes, budget_minutes, percent, burn_rate_max)
