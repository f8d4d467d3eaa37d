"""The group `tune`: which setting of the engines is the best one."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faultload.cli.output import Json, Root, catalogue_of, echo_json, echo_lines, relative
from faultload.errors import UsageError

if TYPE_CHECKING:
    from faultload.report.tune import TuneReport
    from faultload.run.tune.plan import Asked

tune = typer.Typer(no_args_is_help=True)


@tune.callback()
def _group() -> None:
    """Keep `batch` a command of its own, though it is the only one."""


@tune.command("batch")
def batch(
    model: Annotated[
        str, typer.Option(help="Whose requests; may be left out where only one is asked for.")
    ] = "",
    target: Annotated[str, typer.Option(help="A local target, as path or name.")] = "local",
    sizes: Annotated[
        str, typer.Option(metavar="N,N…", help="Most requests in an engine's batch.")
    ] = "4,8,16,32,64",
    slo: Annotated[
        str | None, typer.Option(help="SLOs, as file or name; default: all that are about it.")
    ] = None,
    scenario: Annotated[str, typer.Option(help="Whose lengths and timeouts.")] = "chat-steady",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of requests and order; default: the scenario's.")
    ] = None,
    for_s: Annotated[
        float | None,
        typer.Option(min=5, max=3600, metavar="SECONDS", help="Measured a setting; default: 30."),
    ] = None,
    warmup_s: Annotated[
        float | None,
        typer.Option(min=0, max=3600, metavar="SECONDS", help="Dropped before; default: 5."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value of the local platform's configuration."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=100, help="Load workers.")] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SIZE=]DIR",
            help="Start nothing: a stored run of each setting, or a sweep's directory.",
        ),
    ] = None,
    reports: Annotated[Path | None, typer.Option(help="Where the sweep's directory goes.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> int:
    """Say what batch size costs in latency and brings in throughput; the cheapest within SLO."""
    repeat = shlex.join(["faultload", *sys.argv[1:]])
    if runs:
        from faultload.run.tune.telling import report_runs

        if set_ or workers or seed is not None or for_s or warmup_s is not None:
            raise UsageError(
                "--runs starts nothing: leave out --set, --workers, --seed, --for-s and --warmup-s"
            )
        if slo is not None and Path(slo).suffix not in (".yaml", ".yml"):
            raise UsageError(f"--slo {slo}: expected a file, for --runs have no project")
        place = reports or (root or Path.cwd()) / "reports"
        found = report_runs(runs, model, Path(slo) if slo else None, place, repeat)
        return _end(*found, as_json=as_json)
    from faultload.run.tune.plan import FOR_S, WARMUP_S, Asked

    asked = Asked(
        target=target,
        model=model,
        sizes=_numbers(sizes),
        scenario=scenario,
        slo=slo,
        seed=seed,
        for_s=FOR_S if for_s is None else for_s,
        warmup_s=WARMUP_S if warmup_s is None else warmup_s,
        overrides=set_ or (),
        load={} if workers is None else {"workers": workers},
        reports=reports,
        repeat=repeat,
    )
    return _live(asked, root, as_json=as_json)


def _live(asked: Asked, root: Path | None, *, as_json: bool) -> int:
    from faultload.run.progress import Silent, make_progress
    from faultload.run.tune.conduct import Sweep
    from faultload.run.tune.plan import prepare_tune
    from faultload.run.tune.telling import report_sweep

    plan = prepare_tune(catalogue_of(root), asked)
    progress = Silent() if as_json else make_progress(plain=bool(os.environ.get("CI")))
    try:
        progress.note(plan.summary)
        sweep = Sweep(plan, progress)
        done = sweep.run()
    finally:
        progress.close()
    return _end(*report_sweep(plan, sweep.path, done), as_json=as_json)


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    odd = next((word for word in words if not (word.isascii() and word.isdigit())), None)
    if odd is not None:
        raise UsageError(f"--sizes: expected whole numbers such as 4,8,16, found {odd!r}")
    return [int(word) for word in words]


def _end(report: TuneReport, written: list[Path], *, as_json: bool) -> int:
    if as_json:
        echo_json(report.as_json())
    else:
        echo_lines(report.lines())
        echo_lines([f"wrote {relative(path)}" for path in written])
    return report.exit_code
