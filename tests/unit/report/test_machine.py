"""`verdict.json`, `junit.xml` and the summary."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from faultload.judge import Finding, Verdict
from faultload.report import render_summary
from faultload.report.summary import LINES_MAX

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 2, "invalid": 3}


def read_strictly(text: str) -> dict[str, Any]:
    """Parse JSON that may not hold NaN or Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    data: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return data


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_verdict_and_its_exit_code(judged: Callable[[Verdict], Any], verdict: Verdict) -> None:
    """Each verdict has its exit code; the keys are the documented ones."""
    data = read_strictly(judged(verdict).write()["verdict.json"])

    assert data["verdict"] == verdict
    assert data["exit_code"] == EXIT_CODES[verdict]
    assert set(data) == {
        "schema_version",
        "run_id",
        "experiment",
        "title",
        "verdict",
        "reason",
        "exit_code",
        "outcome",
        "started_utc",
        "paths",
        "judgement",
        "load",
    }
    assert data["schema_version"] == 1
    assert data["judgement"]["fault_window_s"] == [30.4, 45.2]


def test_every_key_of_the_judgement_is_documented(killed: Any) -> None:
    """The module's docstring names every key that a machine may meet."""
    from faultload.report import machine

    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {k for v in value.values() for k in keys(v)}
        return {k for v in value for k in keys(v)} if isinstance(value, list) else set()

    undocumented = {
        key
        for key in keys(read_strictly(killed.write()["verdict.json"]))
        if key not in (machine.__doc__ or "")
    }

    assert undocumented == set()


def test_json_is_strict_whatever_the_judge_hands_over(killed: Any) -> None:
    """NaN, infinity and numpy scalars become null and plain numbers."""
    judgement = killed.judgement
    killed.judgement = replace(
        judgement,
        recoveries=[replace(judgement.recoveries[0], impact_s=math.nan, error_s=math.inf)],
        phases=[replace(judgement.phases[0], bad=np.int64(3), bad_ratio=np.float64("nan"))],
    )
    data = read_strictly(killed.write()["verdict.json"])["judgement"]

    assert data["recoveries"][0]["impact_s"] is None
    assert data["recoveries"][0]["error_s"] is None
    assert data["phases"][0]["bad"] == 3
    assert data["phases"][0]["bad_ratio"] is None


def test_an_empty_record_is_reported_to_machines_too(empty: Any) -> None:
    """No rows give a verdict file, a suite and a summary all the same."""
    texts = empty.write()

    assert read_strictly(texts["verdict.json"])["judgement"]["fault_window_s"] is None
    assert ET.fromstring(texts["junit.xml"].encode())[0].get("errors") == "1"  # noqa: S314  # our own output
    assert "none were recorded" in render_summary(empty.judgement, empty.manifest)


def suite_of(run: Any) -> ET.Element:
    """Return the one suite of the run's junit.xml."""
    root = ET.fromstring(run.write()["junit.xml"].encode())  # noqa: S314  # our own output
    assert root.tag == "testsuites"
    assert len(root) == 1
    return root[0]


def outcomes(suite: ET.Element) -> dict[str, int]:
    """Count the children of the cases by tag and type."""
    found: dict[str, int] = {}
    for case in suite.iter("testcase"):
        child = next(iter(case), None)
        key = "pass" if child is None else f"{child.tag} {child.get('type') or ''}".strip()
        found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict.PASS, {"pass": 11}),
        (Verdict.FAIL, {"pass": 9, "failure fail": 2}),
        (Verdict.INCONCLUSIVE, {"pass": 8, "failure inconclusive": 3}),
        (Verdict.INVALID, {"error invalid": 1, "skipped": 10}),
    ],
)
def test_only_a_pass_looks_like_a_pass_in_ci(
    judged: Callable[[Verdict], Any], verdict: Verdict, expected: dict[str, int]
) -> None:
    """Fail and inconclusive are failures, invalid is an error and nothing beside it is green."""
    suite = suite_of(judged(verdict))
    found = outcomes(suite)

    assert found == expected
    counts = {k: int(suite.attrib[k]) for k in ("tests", "failures", "errors", "skipped")}
    assert counts["tests"] == sum(found.values())
    assert counts["failures"] == sum(v for k, v in found.items() if k.startswith("failure"))
    assert counts["errors"] == found.get("error invalid", 0)
    assert counts["skipped"] == found.get("skipped", 0)


def test_a_failure_that_belongs_to_no_slo_still_fails_the_suite(
    judged: Callable[[Verdict], Any],
) -> None:
    """An abort is no SLO's failure, yet the suite must not be green."""
    run = judged(Verdict.PASS)
    abort = Finding(Verdict.FAIL, "abort", "a stop condition ended the run", "events.jsonl")
    run.judgement = replace(
        run.judgement, verdict=Verdict.FAIL, reason=abort.text, findings=[abort]
    )

    assert outcomes(suite_of(run))["failure fail"] == 1


def test_junit_is_well_formed_against_control_characters(killed: Any) -> None:
    """Names and texts that XML forbids are replaced."""
    killed.manifest = killed.manifest.model_copy(update={"title": "a\x00\x1b<b>&\ud800"})
    killed.judgement = replace(killed.judgement, reason="x\x08]]>")

    assert any("a��<b>&�" in (c.get("name") or "") for c in suite_of(killed))


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_summary_is_short_and_plain(judged: Callable[[Verdict], Any], verdict: Verdict) -> None:
    """At most twelve lines; the verdict first, the report's path last, no colour codes."""
    run = judged(verdict)
    run.judgement = replace(run.judgement, reason=run.judgement.reason + "\n\x1b[31mred")
    lines = render_summary(run.judgement, run.manifest, "some/report.html").splitlines()

    assert len(lines) <= LINES_MAX
    assert lines[0].startswith(verdict.upper())
    assert lines[-1].endswith("some/report.html")
    assert "\x1b" not in "".join(lines)
    assert any("recovery" in line for line in lines) == (verdict is not Verdict.INVALID)
