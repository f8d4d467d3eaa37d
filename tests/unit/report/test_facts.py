"""What was hit, and the timeline, from journals of every kind."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from faultload.errors import SpecError
from faultload.record import InjectionEntry, InjectionStep, Outcome
from faultload.report.facts import Facts
from faultload.report.formats import THIN
from faultload.report.hits import pairs
from faultload.report.page import render_page


def facts_of(run: Any) -> Facts:
    """Return the facts that the reports would use."""
    return Facts(**vars(run), injections=run.run.injections.entries(), alerts=None)


ENGINES = [{"name": "a", "component": "engine"}, {"name": "b", "component": "engine"}]
ROUTER = {"name": "r", "component": "router"}


@pytest.mark.parametrize(
    ("victims", "platform", "expected"),
    [
        (
            [{"name": "a", "component": "engine"}],
            {"replicas": [*ENGINES, ROUTER]},
            "1 of 2 replicas",
        ),
        ([{"name": "r", "component": "router"}], {"replicas": [ROUTER]}, "1 of 1 router replica"),
        ([{"name": "a", "component": "engine"}], {"replicas": [{"name": "a"}]}, "1 of 1 replica"),
        ([{"name": "n", "component": "node"}], {"nodes": [{}, {}], "replicas": []}, "1 of 2 nodes"),
        ([{"name": "a", "component": "engine"}], {"replicas": []}, "1 replica"),
        ("a", {}, "1 replica"),
        (["a", {"uid": 3}], {"replicas": "many"}, "2 replicas"),
        (None, {}, "victims not recorded"),
    ],
)
def test_the_blast_is_told_as_far_as_it_is_known(
    killed: Any, victims: Any, platform: dict[str, Any], expected: str
) -> None:
    """What a plan does not say is not made up."""
    killed.run.injections.path.unlink()
    entry = InjectionEntry("i", InjectionStep.PLANNED, "f", 1.0, plan={"victims": victims})
    killed.run.injections.append(entry)
    killed.manifest = killed.manifest.model_copy(update={"platform": platform})

    assert facts_of(killed).blast == expected


def test_whom_the_platform_chose_is_told_in_the_plan_s_words(killed: Any) -> None:
    """A fault that names nobody says who chooses, on the page too."""
    killed.run.injections.path.unlink()
    whom = "1 of 2 ready replicas of tier fast, chosen by the platform"
    entry = InjectionEntry("i", InjectionStep.PLANNED, "f", 1.0, plan={"victims": [], "whom": whom})
    killed.run.injections.append(entry)

    facts = facts_of(killed)

    assert facts.blast == whom
    assert whom in render_page(facts)


def test_a_failed_step_is_shown_and_nothing_is_proven(killed: Any) -> None:
    """A fault that failed says why, and has no proof."""
    killed.run.injections.path.unlink()
    problem = "verify: engine-3 still answers"
    killed.run.injections.append(
        InjectionEntry("i", InjectionStep.FAILED, "kill_replica", 1.0, problem=problem)
    )
    html = killed.write()["report.html"]

    assert problem in html
    assert "never proven" in html


def test_the_timeline_fills_in_for_silent_sources(killed: Any) -> None:
    """Without events, phases, journal and judge tell the story; in time order."""
    killed.events = []
    rows = facts_of(killed).timeline()

    assert {row.source for row in rows} == {"harness", "fault", "judge"}
    assert [row.t_s for row in rows] == sorted(row.t_s for row in rows)
    assert any(row.text == "kill_replica: verified" for row in rows)


def test_an_event_without_a_time_stands_last(killed: Any) -> None:
    """A line that lacks its time is shown with "no data", after the others."""
    killed.events = [{"source": "platform", "text": "late"}, *killed.events]

    assert facts_of(killed).timeline()[-1].text == "late"


def test_pairs_flatten_and_keep_secrets_out() -> None:
    """Nested JSON becomes lines for people; keys that may hold a secret are left out."""
    data = {
        "a": {"b": [1, 2.5], "token": "t", "tokens": 3},
        "waited_s": 1.5,
        "ok": True,
        "none": None,
        "l": [],
    }

    assert [(k, v.replace(THIN, " ")) for k, v in pairs(data)] == [
        ("a.b", "1, 2.5"),
        ("a.tokens", "3"),
        ("waited", "1.5 s"),
        ("ok", "yes"),
        ("none", "no data"),
        ("l", "none"),
    ]


def test_damaged_alerts_are_one_clear_line(killed: Any) -> None:
    """A table that cannot be read is named."""
    killed.run.alerts.write_bytes(b"not parquet")

    with pytest.raises(SpecError, match=r"alerts\.parquet: not a readable table"):
        killed.write()


def test_reports_can_be_written_again(killed: Any) -> None:
    """A stored run may be reported as often as one likes; nothing partial is left behind."""
    first = killed.write()
    killed.requests = pd.DataFrame(killed.requests)

    assert killed.write() == first
    assert list(killed.run.path.glob("*.partial")) == []


@pytest.mark.parametrize(
    ("reverted_s", "said"),
    [
        (34.75, f"the fault was taken back 0.25{THIN}s later"),
        (12.0, "the fault had been taken back before"),
        (None, "there was no fault to take back"),
    ],
)
def test_reports_say_what_aborted_a_run_and_when(
    killed: Any, reverted_s: float | None, said: str
) -> None:
    """The condition, what was seen, when, and how soon the harm was gone; in both reports."""
    reason = "60% of requests were bad (stop.bad_requests), seen at +34.5 s"
    killed.manifest = killed.manifest.model_copy(
        update={"outcome": Outcome.ABORTED, "reason": reason}
    )
    data = {"key": "bad_requests", "seen_s": 34.5, "reverted_s": reverted_s}
    killed.events.append(
        {
            "t_s": 36.0,
            "source": "harness",
            "kind": "stop_condition",
            "text": "reached",
            "data": data,
        }
    )

    texts = killed.write()

    def plain(text: str) -> str:
        """Undo what Markdown escapes; it has no thin spaces."""
        return text.replace("\\", "").replace(THIN, " ")

    postmortem = plain(texts["postmortem.md"])
    ended = f"aborted, before its time: {reason}; {said}"
    assert facts_of(killed).how_it_ended == ended
    assert ended in texts["report.html"]
    assert plain(f"The run {ended}.") in postmortem
    assert "mend what it saw before breaking this again" in postmortem
    assert plain(f"- Stop condition: {reason}; {said}.") in postmortem
