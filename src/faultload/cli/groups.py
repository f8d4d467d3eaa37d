"""Command groups: platform, trace, slo, faults, runs, prices, lint."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from faultload.cli.linting import lints
from faultload.cli.output import Json, Root, catalogue_of, echo_json, echo_lines, say
from faultload.cli.prices import prices
from faultload.cli.slos import slos
from faultload.cli.traces import traces
from faultload.errors import ExitCode

_Target = Annotated[str, typer.Option(help="Target, as path or name in targets/.")]


def add_groups(app: typer.Typer) -> None:
    """Add every group to the application."""
    app.add_typer(_platform, name="platform", help="A local platform left up for you.")
    app.add_typer(traces, name="trace", help="Workload traces.")
    app.add_typer(slos, name="slo", help="Service level objectives, and alerts made of them.")
    app.add_typer(_faults, name="faults", help="The faults there are.")
    app.add_typer(_runs, name="runs", help="Stored runs.")
    app.add_typer(
        lints, name="lint", help="Dashboards, rules and triggers against what is exported."
    )
    app.add_typer(prices, name="prices", help="Instance prices, dated.")


_platform = typer.Typer(no_args_is_help=True)
_faults = typer.Typer(no_args_is_help=True)
_runs = typer.Typer(no_args_is_help=True)


@_platform.command("up")
def platform_up(
    target: _Target = "local",
    load: Annotated[bool, typer.Option("--load", help="Keep a load running beside it.")] = False,
    scenario: Annotated[str, typer.Option(help="The load's scenario.")] = "chat-steady",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of its configuration.")
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Start a platform and leave it up; stock `chaos run` and `faultload run` will use it."""
    from faultload.run import platform

    about = platform.up(catalogue_of(root), target, scenario if load else "", set_ or [])
    _show(about, as_json=as_json)


@_platform.command("down")
def platform_down(target: _Target = "local", root: Root = None) -> int:
    """End the platform left up."""
    from faultload.run import platform

    name = catalogue_of(root).target(target)[1].name
    was_up = platform.down(name)
    say(f"{name}: ended" if was_up else f"{name}: there was none up")
    return int(ExitCode.PASS if was_up else ExitCode.MISSING)


@_platform.command("status")
def platform_status(target: _Target = "local", root: Root = None, as_json: Json = False) -> int:
    """Say whether a platform is up, and where."""
    from faultload.run import platform

    name = catalogue_of(root).target(target)[1].name
    about = platform.find_platform(name)
    if about is None:
        say(f"{name}: none is up")
        return int(ExitCode.MISSING)
    _show(about, as_json=as_json)
    return int(ExitCode.PASS)


@_faults.command("list")
def faults_list(as_json: Json = False) -> None:
    """List every fault, what it does and what it asks of a target."""
    from faultload.faults import FAULTS
    from faultload.faults.reference import describe

    found = [describe(name) for name in sorted(FAULTS)]
    if as_json:
        echo_json([dataclasses.asdict(one) for one in found])
    else:
        echo_lines(
            [f"{o.name} (needs {o.capability}, danger {o.danger})\n  {o.summary}" for o in found]
        )


@_faults.command("show")
def faults_show(
    name: Annotated[str, typer.Argument(help="As faults list has it.")], as_json: Json = False
) -> None:
    """Say how one fault works, what proves it, how it ends and what it takes."""
    from faultload.faults.reference import describe

    found = describe(name)
    if as_json:
        echo_json(dataclasses.asdict(found))
    else:
        say(found.markdown().rstrip())


@_faults.command("page")
def faults_page() -> None:
    """Print the page about all of them, docs/faults.md."""
    from faultload.faults.reference import page

    say(page().rstrip())


@_runs.command("list")
def runs_list(
    reports: Annotated[Path | None, typer.Option(help="Where run directories are.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """List stored runs, newest first, with their verdicts."""
    folder = reports or catalogue_of(root).root / "reports"
    rows = []
    for path in sorted(folder.glob("*/verdict.json"), reverse=True):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            rows.append({key: data[key] for key in ("run_id", "experiment", "verdict", "reason")})
        except (ValueError, KeyError, TypeError):
            problem = "verdict.json cannot be read; run: faultload report"
            name = path.parent.name
            rows.append({"run_id": name, "experiment": "", "verdict": "?", "reason": problem})
    if as_json:
        echo_json(rows)
    else:
        echo_lines([f"{r['verdict']:<13} {r['run_id']}  {r['reason']}" for r in rows])


def _show(about: object, *, as_json: bool) -> None:
    data = dataclasses.asdict(about)  # type: ignore[call-overload]
    if as_json:
        echo_json(data)
    else:
        echo_lines([f"{key:<15} {value}" for key, value in data.items() if value != ""])
