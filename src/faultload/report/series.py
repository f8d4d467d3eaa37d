"""Several experiments in one summary: lines for a terminal, a page, Markdown and JUnit.

The files stand beside the runs: `summary-<id>.html`, `summary-<id>.md`, `summary-<id>.junit.xml`.
What did not run is in all of them, and never looks like a pass.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, parse, tostring

from markupsafe import Markup

from faultload.errors import ExitCode
from faultload.judge import Judgement, Verdict
from faultload.report import formats
from faultload.report.facts import recovery_text, slowest, worst_budget
from faultload.report.templating import Verbatim, html_environment, markdown_environment
from faultload.secrecy import redacted_bytes

SKIPPED, REFUSED, NOT_RUN = "skipped", "refused", "not run"
"""How an experiment may end beside the verdicts: the target cannot do it; it was not allowed to
begin; its turn did not come."""

_ENDINGS = ("invalid", "fail", "inconclusive", REFUSED, NOT_RUN, SKIPPED, "pass")
_NOT_MEASURED = "not measured"
_MEANINGS: Mapping[int, str] = {
    ExitCode.PASS: "every claim that was put to the test held",
    ExitCode.FAIL: "a claim did not hold",
    ExitCode.INCONCLUSIVE: "the evidence does not decide on every claim",
    ExitCode.INVALID: "a run cannot tell what happened",
    ExitCode.USAGE: "a bad file, key or name",
    ExitCode.MISSING: "skipped, or something needed is missing",
    ExitCode.DEFECT: "a defect of faultload",
    ExitCode.REFUSED: "refused: it would not have been safe to go on",
}


@dataclass(frozen=True)
class Entry:
    """How one experiment of a series ended.

    Attributes:
        experiment, title: the experiment's.
        ending: a verdict, `skipped`, `refused` or `not run`.
        reason: why, in a sentence.
        exit_code: its own; None: its turn did not come.
        directory: of its run; None: there was none.
        judgement: of its run; None: there was none.
        earlier: ids of the runs that it repeats, spoilt by our own load client; oldest first.
    """

    experiment: str
    title: str
    ending: str
    reason: str
    exit_code: int | None
    directory: Path | None = None
    judgement: Judgement | None = None
    earlier: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """The reason, and of which runs this one is a repetition."""
        if not self.earlier:
            return self.reason
        many = formats.plural(len(self.earlier), "earlier run")
        return f"{self.reason} ({many} spoilt by the load client: {', '.join(self.earlier)})"

    @property
    def _measured(self) -> Judgement | None:
        """What may be believed of its numbers; None: nothing."""
        found = self.judgement
        if found is None or found.verdict is Verdict.INVALID or found.fault_window_s is None:
            return None
        return found

    @property
    def recovery(self) -> str:
        """Its slowest recovery, in words."""
        found = self._measured
        return recovery_text(slowest(found.recoveries)) if found else _NOT_MEASURED

    @property
    def budget(self) -> str:
        """The most it cost an SLO's error budget, in words."""
        worst = worst_budget(self._measured.budgets) if self._measured else None
        return formats.percent_points(worst.budget_percent) if worst else _NOT_MEASURED

    @property
    def streams_lost(self) -> str:
        """How many streams it cost, in words."""
        found = self._measured
        return formats.count(found.streams_lost) if found else _NOT_MEASURED

    @property
    def page(self) -> str:
        """Its report, relative to the folder of all runs; "": there is none."""
        return f"{self.directory.name}/report.html" if self.directory else ""

    def as_json(self) -> Any:
        """Return its `verdict.json`; where there is none, those keys that can be said.

        `earlier_runs` is beside them where it repeats any.
        """
        if self.directory is not None:
            found = json.loads((self.directory / "verdict.json").read_text(encoding="utf-8"))
            return found | ({"earlier_runs": list(self.earlier)} if self.earlier else {})
        return {
            "experiment": self.experiment,
            "title": self.title,
            "verdict": self.ending,
            "reason": self.reason,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True)
class Summary:
    """A series that has ended.

    Attributes:
        entries: in the order they ran, then those that did not.
        exit_code: the command's.
        target: where.
        repeat: the command that repeats it.
        note: what else a reader should know: how the sample was drawn; "": nothing.
    """

    entries: Sequence[Entry]
    exit_code: int
    target: str
    repeat: str
    note: str = ""

    @property
    def counts(self) -> str:
        """How many ended how, worst first: `3 experiments: 1 fail, 2 pass`."""
        found = Counter(entry.ending for entry in self.entries)
        parts = ", ".join(f"{found[one]} {one}" for one in _ENDINGS if found[one])
        return f"{formats.plural(len(self.entries), 'experiment')}: {parts}"

    @property
    def meaning(self) -> str:
        """The exit code in words."""
        return _MEANINGS.get(self.exit_code, "interrupted, and reverted")

    @property
    def ending(self) -> str:
        """One word for all: the verdict that counts, or what ended the series."""
        if self.exit_code <= ExitCode.INVALID:
            return ExitCode(self.exit_code).name.lower()
        if self.exit_code == ExitCode.MISSING and {e.ending for e in self.entries} == {SKIPPED}:
            return SKIPPED
        return "stopped"

    def lines(self, shown: Callable[[Path], str] = str) -> list[str]:
        """Return it for a terminal or a log: a table with reasons and reports, and the counts.

        `shown` writes a path as the reader would type it.
        """
        head = ("experiment", "verdict", "recovery", "budget", "streams lost")
        rows = [head, *(map(_line, _row(entry)) for entry in self.entries)]
        table = [list(row) for row in rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        said = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
        body = list[str]()
        for row, entry in zip(said[1:], self.entries, strict=True):
            body += [row, f"    {_line(entry.why)}"]
            if entry.directory is not None:
                body.append(f"    {_line(shown(entry.directory / 'report.html'))}")
        end = f"{self.counts}; exit code {self.exit_code}: {self.meaning}"
        return [said[0], *body, *([_line(self.note)] if self.note else []), end]


def write_summary(summary: Summary, reports: Path) -> list[Path]:
    """Write the page, the Markdown and the JUnit file; return their paths.

    Args:
        summary: of the series.
        reports: where its runs' directories are.
    """
    now = datetime.now(UTC)
    name = f"summary-{now.strftime('%Y%m%dT%H%M%SZ')}-{uuid.uuid4().hex[:4]}"
    reports.mkdir(parents=True, exist_ok=True)
    about = {"summary": summary, "when": now.strftime("%Y-%m-%d %H:%M")}
    css = (resources.files("faultload.report") / "templates" / "report.css").read_text("utf-8")
    page = html_environment().get_template("summary.html.j2")
    text = markdown_environment().get_template("summary.md.j2")
    files = {
        ".html": page.render(style=Markup(css), link=quote, **about).encode("utf-8", "replace"),  # noqa: S704  # ours
        ".md": text.render(link=lambda path: Verbatim(quote(path)), **about).encode(
            "utf-8", "replace"
        ),
        ".junit.xml": _junit(summary),
    }
    for suffix, data in files.items():
        (reports / f"{name}{suffix}").write_bytes(redacted_bytes(data))
    return [reports / f"{name}{suffix}" for suffix in files]


def _junit(summary: Summary) -> bytes:
    """Return one document with each run's own suites, and a suite for each that has none."""
    root = Element("testsuites", name="faultload")
    for entry in summary.entries:
        own = entry.directory / "junit.xml" if entry.directory else None
        # What we wrote ourselves a moment ago, escaped.
        suites = parse(own).getroot().findall("testsuite") if own else [_suite(entry)]  # noqa: S314
        for suite in suites if entry.earlier else ():
            there = suite.find("properties")
            properties = SubElement(suite, "properties") if there is None else there
            names = " ".join(entry.earlier)
            SubElement(properties, "property", name="earlier_runs", value=formats.clean(names))
        root.extend(suites)
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _suite(entry: Entry) -> Element:
    """Return a suite of one case: skipped is skipped, and all else that has no run is an error."""
    is_skip = entry.ending == SKIPPED
    counts = {"tests": 1, "failures": 0, "errors": int(not is_skip), "skipped": int(is_skip)}
    name = formats.clean(f"faultload {entry.experiment}")
    suite = Element("testsuite", {key: str(value) for key, value in counts.items()}, name=name)
    case = SubElement(
        suite,
        "testcase",
        classname=formats.clean(f"{entry.experiment}.verdict"),
        name=formats.clean(entry.title),
        time="0.000",
    )
    message = formats.clean(f"{entry.ending.upper()}: {entry.reason}")
    child = SubElement(case, "skipped" if is_skip else "error", message=message)
    if not is_skip:
        child.set("type", entry.ending)
        child.text = message
    return suite


def _row(entry: Entry) -> list[str]:
    ending = entry.ending.upper()
    return [entry.experiment, ending, entry.recovery, entry.budget, entry.streams_lost]


def _line(text: str) -> str:
    """Return text on one line, without characters that could steer a terminal."""
    return " ".join(formats.clean(text).replace(formats.THIN, " ").split())
