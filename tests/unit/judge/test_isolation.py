"""A partition that cut nobody off has proven nothing, whatever the target was ordered to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scenes import GONE, HARM, journal, rows, scene, steady

from faultload.judge import Evidence, Verdict, judge
from faultload.record import InjectionEntry, InjectionStep

VICTIM = "r1"


def partition(inflight: int | None) -> list[InjectionEntry]:
    """Return the journal of a partition of `r1`; None: the target knows not what it serves."""
    state = {"name": VICTIM, "ready": True, "inflight": inflight, "cut_off": True}
    return [
        replace(
            entry,
            fault="partition_replica",
            plan={"victims": [{"name": VICTIM}]} if entry.step is InjectionStep.PLANNED else {},
            evidence={"data": {"states": [state]}} if entry.step is InjectionStep.VERIFIED else {},
        )
        for entry in journal()
    ]


def served(by_victim: Any, *, inflight: int | None, **columns: Any) -> Evidence:
    """Return a run in which `r1` served the requests due at times where `by_victim` is true."""
    due = steady()
    who = np.where([by_victim(at) for at in due], VICTIM, "r0").astype(object)
    return scene(rows(due, served_by=who, **columns), injections=partition(inflight))


def reasons(evidence: Evidence) -> str:
    """Return what makes it invalid; "" where nothing does."""
    found = judge(evidence).findings
    return "; ".join(f.text for f in found if f.verdict is Verdict.INVALID and f.subject == "fault")


@pytest.mark.parametrize("inflight", [0, None])
def test_a_victim_that_went_on_serving_was_not_cut_off(inflight: int | None) -> None:
    """One request sent after the proof and answered before the end is enough."""
    assert "served by r1 all the same" in reasons(served(lambda _: True, inflight=inflight))


@pytest.mark.parametrize("inflight", [0, None])
def test_a_victim_that_served_before_and_after_was_cut_off(inflight: int | None) -> None:
    """The rows show it where the target cannot."""
    assert reasons(served(lambda at: not HARM <= at < GONE, inflight=inflight)) == ""


def test_where_nobody_says_who_served_nothing_is_shown() -> None:
    """A target that knows no requests in flight, and rows that name nobody: it cannot be told."""
    assert "nothing shows that r1 was cut off" in reasons(served(lambda _: False, inflight=None))
    assert reasons(served(lambda _: False, inflight=0)) == ""


def test_an_answer_that_had_to_wait_for_the_end_is_no_way_through() -> None:
    """Sent to a victim while it was cut off, and answered once it was joined again."""
    due = steady()
    late = (due > GONE - 5) & (due < GONE - 1)
    first = np.where(late, GONE, due + 0.05)
    times = {"first_token_s": first, "last_token_s": first + 0.2, "end_s": first + 0.2}

    evidence = served(lambda at: at < HARM or at > GONE - 5, inflight=None, **times)

    assert reasons(evidence) == ""
