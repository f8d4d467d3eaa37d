"""Record and judgement in, files for people and machines out, beside the record.

`report.html` for people, `postmortem.md` to start an incident report from, `verdict.json` for
machines (its keys: `faultload.report.machine`), `junit.xml` for CI. Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from faultload.judge import Judgement
from faultload.record import AlertState, Manifest, RunDirectory, read_alerts
from faultload.record.directory import write_json
from faultload.report.facts import Facts
from faultload.report.junit import junit_xml
from faultload.report.machine import verdict_json
from faultload.report.page import render_page
from faultload.report.postmortem import render_postmortem
from faultload.report.summary import render_summary
from faultload.secrecy import redacted_bytes, redacted_data
from faultload.spec import SLO, Experiment

__all__ = ["render_summary", "write_reports"]


def write_reports(  # noqa: PLR0913  # the record, part by part, as the flow holds it
    run: RunDirectory,
    manifest: Manifest,
    experiment: Experiment,
    slos: Sequence[SLO],
    judgement: Judgement,
    requests: pd.DataFrame,
    series: pd.DataFrame,
    events: list[dict[str, Any]],
) -> list[Path]:
    """Write report.html, postmortem.md, verdict.json and junit.xml; return their paths.

    Args:
        run: where to write, and where the injection journal and the alerts are read.
        manifest: of the run, sealed.
        experiment: whose claim was put to the test.
        slos: that were judged.
        judgement: what the judge said.
        requests: rows in the record's request schema; may be empty.
        series: rows in the record's series schema; may be empty.
        events: lines of events.jsonl: t_s, source, kind, text, data.

    Raises:
        SpecError: the journal or the alerts cannot be read.
    """
    facts = Facts(
        run=run,
        manifest=manifest,
        experiment=experiment,
        slos=slos,
        judgement=judgement,
        requests=requests,
        series=series,
        events=events,
        injections=run.injections.entries(),
        alerts=_alerts(run.alerts),
    )
    page, postmortem, verdict, junit = (
        run.path / name for name in ("report.html", "postmortem.md", "verdict.json", "junit.xml")
    )
    # The verdict goes first: whatever befalls the pages, machines have their answer.
    write_json(verdict, redacted_data(verdict_json(facts)))
    _write(junit, junit_xml(facts))
    _write(page, render_page(facts).encode("utf-8", "replace"))
    _write(postmortem, render_postmortem(facts).encode("utf-8", "replace"))
    return [page, postmortem, verdict, junit]


def _alerts(path: Path) -> pd.DataFrame | None:
    """Return the alerts that fired; None: not one was replayed."""
    alerts = read_alerts(path)
    if alerts is None:
        return None
    unknown = alerts["state"] == AlertState.NOT_REPLAYED
    if len(alerts) and unknown.all():
        return None
    return alerts[alerts["state"] == AlertState.FIRED]


def _write(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one.

    A record made before now may hold what is known for a secret since.
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(redacted_bytes(data))
    partial.replace(path)
