"""Would it have paged? The sentence and the table, and what is not known stays unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from faultload.judge import AlertOutcome
from faultload.report.formats import THIN
from faultload.report.paging import paging_section

_QUIET = AlertOutcome(
    alert="UpBurn1h",
    severity="page",
    slo="up",
    state="quiet",
    fires_s=None,
    resolves_s=None,
    fires_after_impact_s=None,
    outage_to_fire_s=518.0,
    total_outage_to_fire_s=259.2,
    why="",
)
_FIRED = replace(_QUIET, state="fired", fires_s=92.0, fires_after_impact_s=60.0)
_UNKNOWN = replace(_QUIET, state="not_replayed", outage_to_fire_s=None, why="no promtool")
_TICKET = replace(_QUIET, alert="UpBurn3d", severity="ticket")


@pytest.mark.parametrize(
    ("alerts", "answer"),
    [
        ([], "Nobody can say: the alerts were not replayed when this run was recorded."),
        ([_UNKNOWN], "Nobody can say: no promtool."),
        ([_TICKET, _QUIET], "No. UpBurn1h would have paged had this outage lasted for 8 min 38 s."),
        ([replace(_QUIET, outage_to_fire_s=None)], "No, and it never would have, however long"),
        ([_TICKET, _FIRED], "Yes: UpBurn1h 60.0 s after users first felt it."),
        ([replace(_FIRED, fires_after_impact_s=-3.0)], "before users felt the fault"),
        ([replace(_FIRED, fires_after_impact_s=None)], "Yes: UpBurn1h at +92.0 s."),
    ],
)
def test_the_answer_is_one_sentence(killed: Any, alerts: list[AlertOutcome], answer: str) -> None:
    """A page that fired, the soonest that would have, or why nobody can say."""
    section = paging_section(replace(killed.judgement, alerts=alerts))

    assert answer in section.answer.replace(THIN, " ")


def test_what_was_not_replayed_did_not_stay_silent(killed: Any) -> None:
    """The table says of each alert what became of it, and why where nothing did."""
    rows = paging_section(replace(killed.judgement, alerts=[_FIRED, _UNKNOWN, _QUIET])).rows

    assert [row.such for row in rows] == ["8 min 38 s", "not known", "8 min 38 s"]
    assert rows[1].found == "not replayed: no promtool"
    assert rows[2].found == "did not fire"
    assert "still firing at the end" in rows[0].found


@pytest.mark.parametrize(("total_s", "is_late"), [(259.2, False), (2592.0, True), (None, True)])
def test_an_slo_that_cannot_page_in_time_is_named(
    killed: Any, total_s: float | None, is_late: bool
) -> None:
    """Ten minutes of total outage that page nobody are a finding about the SLO, not the run."""
    late = replace(_QUIET, total_outage_to_fire_s=total_s)
    section = paging_section(replace(killed.judgement, alerts=[late, _TICKET]))

    assert bool(section.blind) is is_late
    assert section.blind.startswith("up: not even a total outage") is is_late


def test_the_page_has_the_section(killed: Any) -> None:
    """The report asks the question and answers it, on a record without an answer too."""
    killed.judgement = replace(killed.judgement, alerts=[_FIRED])
    html = killed.write()["report.html"]

    assert "Would it have paged?" in html
    assert "UpBurn1h" in html
