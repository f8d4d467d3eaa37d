"""The group `lint`: files of others held against the one home of names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faultload.cli.output import Json, Root, catalogue_of, complain, echo_json, relative, say
from faultload.errors import ExitCode

if TYPE_CHECKING:
    from faultload.measure.metric_answers import Answer
    from faultload.measure.metric_lint import Finding

lints = typer.Typer(no_args_is_help=True)
_HOME = "platform/observability"


@lints.callback()
def about() -> None:
    """Hold files against what the platform really has."""


@lints.command("metrics")
def lint_metrics(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Dashboards, rules, PrometheusRules, ScaledObjects, or folders of them;"
            f" default: {_HOME}."
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(help=f"What is exported; default: {_HOME}/metrics.yaml."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="PROMETHEUS", help="Ask each query there; no data is a finding."),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="With --url: print what each query returned.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> int:
    """Find queries that name a series, label or value which nobody exports."""
    from faultload.measure.metric_lint import lint
    from faultload.measure.queries import Kind, read_queries
    from faultload.spec.metrics import load_metrics

    home = None if files and metrics else catalogue_of(root).root / _HOME
    names = load_metrics(metrics or (home or Path()) / "metrics.yaml")
    queries = read_queries(files or [home or Path()])
    rules = []
    if files and home is not None and (home / "rules").is_dir():
        rules = [q for q in read_queries([home / "rules"]) if q.kind is Kind.RECORD]
    findings = lint(queries, names, rules)
    found: list[Answer] = []
    if url is not None:
        from faultload.measure.metric_answers import answers, silent
        from faultload.measure.prometheus import PrometheusReader

        found = answers(queries, names, PrometheusReader(url))
        findings += silent(found)
    _show(findings, found, as_json=as_json, as_table=table)
    if not findings and not as_json and not table:
        asked = "" if url is None else ", and each is answered"
        say(f"{len(queries)} queries name nothing dead{asked}")
    return int(ExitCode.FAIL if findings else ExitCode.PASS)


def _show(
    findings: Sequence[Finding], found: Sequence[Answer], *, as_json: bool, as_table: bool
) -> None:
    if as_json:
        rows = [(one.query, {"problem": one.problem}) for one in findings]
        rows += [(one.query, {"answer": one.said}) for one in found if not one.problem]
        echo_json(
            [
                {"file": relative(q.file), "kind": str(q.kind), "name": q.name, **what}
                for q, what in rows
            ]
        )
        return
    if as_table and found:
        from faultload.measure.metric_answers import table

        say(table(found))
    for one in findings:
        line = f"{relative(one.query.file)}: {one.query.where}: {one.problem}"
        complain(line) if as_table else say(line)
