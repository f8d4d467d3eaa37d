"""Would it have paged? What the replayed alerts say, beside what users felt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from faultload.judge.model import AlertOutcome, Recovery


def judge_alerts(
    alerts: pd.DataFrame | None,
    recoveries: Sequence[Recovery],
    window: tuple[float, float] | None,
) -> list[AlertOutcome]:
    """Return what became of every alert; empty: none was replayed. It changes no verdict.

    Args:
        alerts: in the record's alert schema; None: the record has none.
        recoveries: with the moment from which users felt the fault, by SLO.
        window: first harm and proven end; None: no harm was done.
    """
    if alerts is None:
        return []
    felt = {r.slo: r.impact_s for r in recoveries}
    outcomes = []
    for row in alerts.to_dict("records"):
        starts_s, impact_s = _known(row["start_s"]), felt.get(row["slo"])
        after_s = None
        if starts_s is not None and impact_s is not None and window is not None:
            after_s = starts_s - window[0] - impact_s
        outcomes.append(
            AlertOutcome(
                alert=row["alert"],
                severity=row["severity"],
                slo=row["slo"],
                state=row["state"],
                fires_s=starts_s,
                resolves_s=_known(row["end_s"]),
                fires_after_impact_s=after_s,
                outage_to_fire_s=_known(row["outage_to_fire_s"]),
                total_outage_to_fire_s=_known(row["total_outage_to_fire_s"]),
                why=row["why"],
            )
        )
    return outcomes


def _known(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
