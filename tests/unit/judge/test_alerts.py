"""Replayed alerts beside what users felt: no verdict, and no silence where nobody listened."""

from __future__ import annotations

import math

import pandas as pd

from faultload.judge.alerts import judge_alerts
from faultload.judge.model import Recovery
from faultload.record import AlertState

_ROW = {
    "alert": "UpBurn1h",
    "severity": "page",
    "slo": "up",
    "state": AlertState.FIRED,
    "start_s": 92.0,
    "end_s": math.nan,
    "outage_to_fire_s": 52.0,
    "total_outage_to_fire_s": math.inf,
    "why": "",
}
_FELT = Recovery("up", 2.0, 3.0, 20.0, None, 1.0)


def test_a_page_is_timed_from_when_users_felt_it() -> None:
    """Harm at 30 s, felt 2 s later, paged at 92 s: a minute after users first felt it."""
    (found,) = judge_alerts(pd.DataFrame([_ROW]), [_FELT], (30.0, 60.0))

    assert (found.fires_s, found.fires_after_impact_s, found.resolves_s) == (92.0, 60.0, None)
    assert found.total_outage_to_fire_s is None


def test_what_nobody_felt_has_no_such_time() -> None:
    """An alert of an SLO that users kept fired, and after what is not known."""
    calm = Recovery("up", None, None, 0.0, None, 1.0)

    for recoveries in ([calm], []):
        (found,) = judge_alerts(pd.DataFrame([_ROW]), recoveries, (30.0, 60.0))
        assert (found.fires_s, found.fires_after_impact_s) == (92.0, None)


def test_no_table_is_no_alerts() -> None:
    """A record from before the replay says nothing of alerts."""
    assert judge_alerts(None, [_FELT], (30.0, 60.0)) == []
