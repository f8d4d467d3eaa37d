"""`postmortem.md`: evidence behind each sentence, people behind the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from faultload.judge import Verdict
from faultload.record import ALERT_SCHEMA, write_table

HEADINGS = [
    "Summary",
    "What was believed",
    "Impact",
    "How it was measured",
    "Trigger",
    "Root cause",
    "Detection",
    "Recovery",
    "Timeline",
    "What went well",
    "What went badly",
    "Where we got lucky",
    "Action items",
    "Lessons",
    "Evidence",
]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_heading_for_every_verdict(
    judged: Callable[[Verdict], Any], verdict: Verdict
) -> None:
    """All headings, in order; only an invalid run says first that it is one."""
    text = judged(verdict).write()["postmortem.md"]
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    first = ["This run is invalid"] if verdict is Verdict.INVALID else []

    assert headings == first + HEADINGS
    assert f"**{verdict.upper()}**" in text


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_bullet_carries_an_evidence_id(
    judged: Callable[[Verdict], Any], verdict: Verdict
) -> None:
    """A sentence filled by the harness names the file that backs it, and the id is explained."""
    text = judged(verdict).write()["postmortem.md"]
    body, evidence = text.split("\n## Evidence\n")
    bullets = re.findall(r"^- .+$", body, re.MULTILINE)
    cited = set(re.findall(r"\bE\d+\b(?=[\],])", body))

    assert len(bullets) > 5
    assert all(re.search(r"\[E\d+(, E\d+)*\]$", bullet) for bullet in bullets)
    assert cited <= set(re.findall(r"^- \[(E\d+)\]", evidence, re.MULTILINE))


def test_what_only_people_know_is_left_to_them(killed: Any) -> None:
    """Narrative, luck, lessons and owners are not invented."""
    text = killed.write()["postmortem.md"]

    assert text.count("needs a person") >= 8
    rows = re.findall(r"^\| .+ \| (?:prevent|detect|mitigate|repair) \|(.+)\[E", text, re.MULTILINE)
    assert rows
    assert all(set(row) <= {" ", "|"} for row in rows)


def test_an_invalid_run_says_what_to_do_and_nothing_of_the_platform(
    judged: Callable[[Verdict], Any],
) -> None:
    """Reason, remedy, command; no success, no failure, no proposal about the platform."""
    run = judged(Verdict.INVALID)
    text = run.write()["postmortem.md"]

    assert "add a worker" in text
    assert run.manifest.repeat in text
    assert text.count("Not judged: the run is invalid.") == 2
    assert "| prevent |" not in text
    assert "| mitigate |" not in text


def test_an_invalid_run_without_a_finding_still_gives_its_reason(
    judged: Callable[[Verdict], Any],
) -> None:
    """The reason stands in for findings that are not there."""
    run = judged(Verdict.INVALID)
    run.judgement = replace(run.judgement, findings=[])

    assert f"- {run.judgement.reason} [E1]" in run.write()["postmortem.md"]


def test_text_from_outside_cannot_change_the_document(killed: Any) -> None:
    """Markup, table bars and newlines in a title or an event are shown as they are."""
    evil = "a|b\n# heading <script>x</script> `c` [l](u)"
    killed.manifest = killed.manifest.model_copy(update={"title": evil, "repeat": evil})
    killed.events.append({"t_s": 2.0, "source": "x", "kind": "k", "text": evil, "data": {}})
    text = killed.write()["postmortem.md"]

    assert "\n# heading" not in text
    assert r"a\|b \# heading \<script\>" in text
    unquoted = re.sub(r"``.+?``", "", text)
    assert re.search(r"(?<!\\)<", unquoted) is None


def test_no_request_rows_are_no_impact_figure(empty: Any) -> None:
    """Without rows the impact is unknown, not nothing."""
    text = empty.write()["postmortem.md"]

    assert "the impact is not known" in text
    assert "Nothing was injected" in text
    assert "Alerts were not recorded" in text
    assert re.search(r"\b(nan|None)\b", text) is None


def test_users_hurt_and_no_alert_is_an_action_item(killed: Any) -> None:
    """Silence of the alerts while users were hurt is proposed as work to do."""
    import pandas as pd

    none = pd.DataFrame({name: [] for name in ALERT_SCHEMA.names})
    write_table(none, ALERT_SCHEMA, killed.run.alerts)
    text = killed.write()["postmortem.md"]

    assert "No alert fired, and none would have." in text
    assert "no alert fired: review" in text


def test_an_expectation_that_was_broken_goes_badly(killed: Any) -> None:
    """What was claimed and what was found stand side by side."""
    text = killed.write()["postmortem.md"]
    badly = text[text.index("## What went badly") : text.index("## Where we got lucky")]

    assert r"streams\_lost\_max: at most 5 claimed, 8 found" in badly
