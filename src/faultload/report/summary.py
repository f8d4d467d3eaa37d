"""The verdict in a few plain lines, for a terminal or a CI log."""

from __future__ import annotations

from faultload.judge import Judgement, Verdict
from faultload.record import Manifest
from faultload.report import formats
from faultload.report.facts import recovery_text, runs_differ, slowest, worst_budget
from faultload.report.load_client import in_a_line
from faultload.report.shown import degraded_text

LINES_MAX = 12


def render_summary(judgement: Judgement, manifest: Manifest, report: str = "") -> str:
    """Return at most 12 lines, without colour and without a newline at the end.

    Args:
        judgement: the verdict.
        manifest: the run's.
        report: where its page is, as the reader should type it; "": not said.
    """
    lines = [
        f"{str(judgement.verdict).upper()}  {_line(manifest.experiment)}",
        f"  claim         {_line(manifest.title)}",
        f"  reason        {_line(judgement.reason)}",
    ]
    if judgement.fault_window_s is not None and judgement.verdict is not Verdict.INVALID:
        recovery, budget = slowest(judgement.recoveries), worst_budget(judgement.budgets)
        at = f"({recovery.slo})" if recovery else ""
        lines.append(f"  recovery      {recovery_text(recovery)} {_line(at)}")
        spent = formats.percent_points(budget.budget_percent if budget else None)
        at = f"of the error budget ({budget.slo})" if budget else ""
        lines.append(f"  budget        {spent} {_line(at)}")
        lines.append(f"  streams       {formats.count(judgement.streams_lost)} lost")
    if judgement.degraded:
        more = len(judgement.degraded) - 1
        text = degraded_text(judgement.degraded[0]) + (f", and {more} more" if more else "")
        lines.append(f"  degraded      {_line(text)}")
    broken = [e for e in judgement.expectations if e.verdict is not Verdict.PASS]
    lines += [f"  {e.verdict!s:<13} {_line(e.text)}" for e in broken[:2]]
    rows = formats.count(judgement.requests) if judgement.requests else "none were recorded"
    differ = runs_differ(judgement)
    lines.append(f"  requests      {rows}{'; ' if differ else ''}{_line(differ)}")
    lines.append(f"  load          {in_a_line(manifest.load)}")
    if report:
        lines.append(f"  report        {_line(report)}")
    text = "\n".join(line.rstrip() for line in lines[:LINES_MAX])
    return text.replace(formats.THIN, " ")


def _line(text: str) -> str:
    """Return text on one line, without characters that could steer a terminal."""
    return " ".join(formats.clean(text).split())
