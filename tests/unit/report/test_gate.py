"""What a gate's summary says, and that nothing but a pass looks like one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from faultload.judge import Verdict
from faultload.judge.trial import Unit
from faultload.report.gate import (
    GateReport,
    SliLine,
    gate_junit,
    gate_markdown,
    write_gate_reports,
)

LINE = SliLine(
    sli="p95 TTFT",
    unit=Unit.SECONDS.value,
    verdict=Verdict.FAIL,
    reason="Worse by 12.0%.",
    baseline=0.08,
    candidate=0.0896,
    effect=0.12,
    interval=(0.08, math.inf),
    effect_detectable=0.04,
    trials=10,
    trials_needed=0,
    stage=1,
    confirmed=None,
)
REPORT = GateReport(
    gate_id="gate-1",
    verdict=Verdict.FAIL,
    reason="an SLI got worse (p95 TTFT)",
    baseline="local",
    candidate="local --set a=1",
    differences=["config.a: 0 → 1"],
    slis=[LINE],
    trials=20,
    repeated=1,
    elapsed_s=600.0,
    left_s=0.0,
    notes=[],
    repeat="faultload gate",
)


def test_lines_hold_what_a_person_decides_by() -> None:
    """Verdict first and last; effect, interval, smallest detectable effect, what differs."""
    text = "\n".join(REPORT.lines())

    assert text.splitlines()[0] == "FAIL: local --set a=1 against local"
    assert "differs in config.a: 0 → 1" in text
    for said in ("+12 %", "+8 % to", "4 %", "80 ms", "90 ms", "20 trials, 1 of them repeated"):
        assert said in text
    assert text.splitlines()[-1].startswith("FAIL: an SLI got worse")


def test_what_is_left_is_said() -> None:
    """An open gate says how many trials and how many seconds more it would take."""
    line = replace(LINE, verdict=Verdict.INCONCLUSIVE, trials_needed=15)
    report = replace(REPORT, verdict=Verdict.INCONCLUSIVE, slis=[line], left_s=900.0)

    text = "\n".join(report.lines())

    assert "10 (+15)" in text
    assert "about 900 s more to decide" in text


@pytest.mark.parametrize(
    ("unit", "effect", "said"),
    [
        (Unit.SECONDS, 0.1, "+10 %"),
        (Unit.SECONDS, -0.1, "-10 %"),
        (Unit.BAD_SHARE, 0.012, "+1.2 pp"),
        (Unit.GOOD_SHARE, 0.03, "-3 pp"),
    ],
)
def test_change_has_the_unit_and_sign_that_people_think_in(
    unit: Unit, effect: float, said: str
) -> None:
    """A latency changes by percent, a share by points, and goodput that got worse went down."""
    line = replace(LINE, unit=unit.value)

    assert line.change(effect).replace("\N{NARROW NO-BREAK SPACE}", " ") == said


def test_json_has_no_infinity(tmp_path: Path) -> None:
    """An open bound is null: JSON readers choke on anything else."""
    files = write_gate_reports(REPORT, tmp_path)

    said = json.loads(files[0].read_text(encoding="utf-8"))
    assert said["slis"][0]["interval"] == [0.08, None]
    assert said["verdict"] == "fail"


def test_markdown_is_a_table_that_others_words_cannot_break() -> None:
    """A name with markup or a mention stays text: the summary is posted where people are called."""
    line = replace(LINE, sli="p95 | <b>@team", reason="`x` [a](b)")

    text = gate_markdown(replace(REPORT, slis=[line], candidate="a`b|c"))

    assert text.startswith("## SLO gate: FAIL\n")
    assert "@team" not in text
    assert "<b>" not in text
    assert "`a'b¦c`" in text
    (row,) = [one for one in text.splitlines() if one.startswith("| p95")]
    assert row.replace("\\|", "").count("|") == 9


@pytest.mark.parametrize(
    ("verdict", "failures", "errors"),
    [
        (Verdict.PASS, 0, 0),
        (Verdict.FAIL, 2, 0),
        (Verdict.INCONCLUSIVE, 2, 0),
        (Verdict.INVALID, 0, 2),
    ],
)
def test_junit_knows_no_pass_but_a_pass(verdict: Verdict, failures: int, errors: int) -> None:
    """Inconclusive is a failure of its type, invalid an error."""
    report = replace(REPORT, verdict=verdict, slis=[replace(LINE, verdict=verdict)])

    (suite,) = fromstring(gate_junit(report))  # noqa: S314  # our own

    found = [int(suite.get(key, "")) for key in ("tests", "failures", "errors")]
    assert found == [2, failures, errors]
