"""The summary of several experiments: all are in it, and only a pass looks like one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from faultload.errors import ExitCode
from faultload.judge import Judgement, Verdict
from faultload.record import RunDirectory
from faultload.report.series import NOT_RUN, REFUSED, SKIPPED, Entry, Summary, write_summary

NASTY = "</td><script>alert(1)</script> & | `x` \x1b[31m\x00"


def entry_of(run: RunDirectory, judgement: Judgement) -> Entry:
    """Return the entry of a run."""
    return Entry(
        "engine/replica-loss",
        "Losing one replica costs little",
        judgement.verdict.value,
        judgement.reason,
        int(ExitCode[judgement.verdict.name]),
        run.path,
        judgement,
    )


def without_run(ending: str, reason: str = "for want of a reason") -> Entry:
    """Return the entry of an experiment that has no run."""
    code = {SKIPPED: 69, REFUSED: 75}.get(ending)
    return Entry("node/drain", "Draining costs nothing", ending, reason, code)


@pytest.fixture
def entries(judged: Callable[[Verdict], object], tmp_path: Path) -> list[Entry]:
    """Return one of each: four verdicts with their reports, a skip, a refusal, one not run."""
    found = []
    for verdict in Verdict:
        made = judged(verdict)
        made.write()
        found.append(entry_of(made.run, made.judgement))
    return [*found, *map(without_run, (SKIPPED, REFUSED, NOT_RUN))]


def files_of(summary: Summary, folder: Path) -> dict[str, str]:
    """Write the summary; return its texts by suffix."""
    paths = write_summary(summary, folder)
    return {"".join(path.suffixes): path.read_text(encoding="utf-8") for path in paths}


def test_files_stand_beside_the_runs_under_one_name(entries: list[Entry], tmp_path: Path) -> None:
    """A page, Markdown and JUnit, named so that a reader finds them together."""
    paths = write_summary(Summary(entries, 3, "local", "faultload run"), tmp_path / "reports")

    (stem,) = {path.name.split(".")[0] for path in paths}
    assert re.fullmatch(r"summary-\d{8}T\d{6}Z-[0-9a-f]{4}", stem)
    assert [path.name.removeprefix(stem) for path in paths] == [".html", ".md", ".junit.xml"]


def test_every_ending_is_told_with_its_reason(entries: list[Entry], tmp_path: Path) -> None:
    """In words, on the page, in Markdown and on the terminal alike."""
    summary = Summary(entries, 3, "local", "faultload run engine", note="a sample of 7 of 9")
    files = files_of(summary, tmp_path)

    counts = "7 experiments: 1 invalid, 1 fail, 1 inconclusive, 1 refused, 1 not run, 1 skipped"
    for text in (files[".html"], files[".md"], "\n".join(summary.lines())):
        assert f"{counts}, 1 pass" in text
        assert "a run cannot tell what happened" in text
        assert "a sample of 7 of 9" in text
        assert text.count("for want of a reason") == 3
    assert files[".html"].count('class="badge v-pass"') == 1
    assert files[".md"].count("**PASS**") == 1
    lines = summary.lines(lambda path: path.parent.name + "!")
    assert sum("  PASS  " in line for line in lines) == 1
    assert lines.count(f"    {entries[0].page.split('/')[0]}!") == 4


def test_page_links_each_report_and_asks_nothing_of_the_network(
    entries: list[Entry], tmp_path: Path
) -> None:
    """Links lead to the runs beside it; no script, no foreign address."""
    page = files_of(Summary(entries, 3, "local", "faultload run"), tmp_path)[".html"]

    links = re.findall(r'href="([^"#]+)"', page)
    assert sorted(links) == sorted(["data:,", *(one.page for one in entries if one.directory)])
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="https?:', page)


def test_numbers_of_what_proves_nothing_are_not_shown(entries: list[Entry]) -> None:
    """An invalid run and one that never was have measured nothing: that is not zero."""
    by_ending = {entry.ending: entry for entry in entries}

    for ending in ("invalid", SKIPPED, REFUSED, NOT_RUN):
        one = by_ending[ending]
        assert {one.recovery, one.budget, one.streams_lost} == {"not measured"}
    found = by_ending["pass"]
    assert "not measured" not in {found.recovery, found.budget, found.streams_lost}
    assert "%" in found.budget


def test_junit_holds_every_run_and_nothing_unrun_is_green(
    entries: list[Entry], tmp_path: Path
) -> None:
    """Each run's own suites; a skip is skipped, a refusal and what did not run are errors."""
    text = files_of(Summary(entries, 3, "local", ""), tmp_path)[".junit.xml"]
    root = fromstring(text)  # noqa: S314  # we wrote it

    suites = root.findall("testsuite")
    assert len(suites) == len(entries)
    for key in ("tests", "failures", "errors", "skipped"):
        assert int(root.attrib[key]) == sum(int(suite.attrib[key]) for suite in suites)
        assert int(root.attrib[key]) == len(root.findall(f".//{_TAGS[key]}"))
    skipped, refused, left = suites[-3:]
    assert skipped.find("testcase/skipped") is not None
    for suite, kind in ((refused, REFUSED), (left, NOT_RUN)):
        error = suite.find("testcase/error")
        assert error is not None
        assert error.get("type") == kind
        assert error.get("message") == f"{kind.upper()}: for want of a reason"


_TAGS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    """A reason is made of what platforms answer: it changes no page, table or terminal."""
    summary = Summary([without_run(REFUSED, NASTY)], 75, NASTY, NASTY, NASTY)
    files = files_of(summary, tmp_path)

    assert "<script>" not in files[".html"]
    assert "<script>" not in re.sub("``.*?``", "", files[".md"])  # but as code
    assert "\x1b" not in "".join([*files.values(), *summary.lines()])
    assert "\x00" not in "".join([*files.values(), *summary.lines()])
    assert fromstring(files[".junit.xml"]).get("errors") == "1"  # noqa: S314  # we wrote it


@pytest.mark.parametrize(
    ("code", "ending", "meaning"),
    [
        (0, "pass", "every claim"),
        (1, "fail", "did not hold"),
        (2, "inconclusive", "does not decide"),
        (3, "invalid", "cannot tell"),
        (69, "stopped", "missing"),
        (75, "stopped", "refused"),
        (130, "stopped", "interrupted"),
        (143, "stopped", "interrupted"),
    ],
)
def test_exit_code_is_told_in_words(
    code: int, ending: str, meaning: str, entries: list[Entry], tmp_path: Path
) -> None:
    """What a script sees, a reader sees; what ended early is no verdict."""
    summary = Summary(entries, code, "local", "faultload run")

    assert summary.ending == ending
    assert f"exit code {code}: {summary.meaning}" in summary.lines()[-1]
    assert meaning in summary.meaning
    body = re.search(r'<body class="v-(\w+)">', files_of(summary, tmp_path)[".html"])
    assert body
    assert (body[1] == "pass") is (code == 0)


def test_all_skipped_is_skipped() -> None:
    """Nothing was put to the test: that is neither a pass nor an accident."""
    assert Summary([without_run(SKIPPED)], 69, "local", "").ending == SKIPPED


def test_json_is_the_verdict_or_what_can_be_said(entries: list[Entry]) -> None:
    """A run's own document, key by key; the same keys, as far as there are any, for the others."""
    ran, *_, left = [entry.as_json() for entry in entries]

    assert ran["schema_version"] == 1
    assert left == {
        "experiment": "node/drain",
        "title": "Draining costs nothing",
        "verdict": NOT_RUN,
        "reason": "for want of a reason",
        "exit_code": None,
    }
    assert left.keys() < ran.keys()
