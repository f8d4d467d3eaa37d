"""The commands: run, judge, report, gate, recover, stop, doctor, and the groups beside them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faultload import __version__
from faultload.cli.baselines import baselines
from faultload.cli.gating import gate
from faultload.cli.groups import add_groups
from faultload.cli.load import load
from faultload.cli.output import (
    Json,
    Root,
    catalogue_of,
    code_of,
    echo_json,
    echo_lines,
    relative,
    say,
    worst_code,
)
from faultload.cli.selecting import Order, Selection, choose
from faultload.cli.tuning import tune
from faultload.errors import ExitCode, UsageError
from faultload.spec.gameday import COOLDOWN_S_MAX, RERUNS_MAX

if TYPE_CHECKING:
    from faultload.record import RunDirectory
    from faultload.record.history import AcceptedRun

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Break an LLM inference platform on purpose, under real load, and say whether its users"
    " would have noticed.",
    epilog="Exit codes: 0 pass, 1 fail, 2 inconclusive, 3 invalid, 64 usage or a bad file,"
    " 69 skipped or something is missing, 70 a defect, 75 refused, 129/130/131/143 interrupted.",
)
add_groups(app)
app.command()(gate)
app.add_typer(baselines, name="baseline", help="What was accepted, for the gate.")
app.add_typer(tune, name="tune", help="Which setting of the engines is the best one.")
app.add_typer(load, name="load", help="The load, on several machines.")


def _version(value: bool) -> None:
    if value:
        say(f"faultload {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # the callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before a command."""


@app.command()
def run(
    experiments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Experiments, as path or folder/name; folders of them; or one game day file."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All experiments there are.")] = False,
    expression: Annotated[
        str,
        typer.Option(
            "-k",
            metavar="EXPRESSION",
            help="Only those whose name, tags or faults match: 'node and not drain'.",
        ),
    ] = "",
    sample: Annotated[
        int | None, typer.Option(min=1, help="Only so many of them, drawn by --sample-seed.")
    ] = None,
    sample_seed: Annotated[
        str, typer.Option(help="Any text; the same draws the same. Default: drawn, and said.")
    ] = "",
    order: Annotated[
        Order | None,
        typer.Option(help="Least harm first, or as given; a game day's is its own by default."),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Say what would run, in order, and start nothing.")
    ] = False,
    cooldown_max: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Longest wait for the target to be steady."),
    ] = COOLDOWN_S_MAX,
    reruns: Annotated[
        int,
        typer.Option(
            min=0,
            max=RERUNS_MAX,
            metavar="N",
            help="Repeat a run that our load client spoilt, at most N times.",
        ),
    ] = 0,
    target: Annotated[str, typer.Option(help="Target, as path or name in targets/.")] = "local",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of workload and victims; default: the scenario's.")
    ] = None,
    reports: Annotated[Path | None, typer.Option(help="Where run directories go.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value of the local platform's configuration."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Load workers; default: load.workers of the target."),
    ] = None,
    load_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Wait here for load workers of other machines (load.listen)."
        ),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="The load of a stock experiment: one without our block.")
    ] = None,
    slos: Annotated[
        list[str] | None, typer.Option(help="SLOs of a stock experiment, by name or file.")
    ] = None,
    blast_radius: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMPONENT=REPLICAS", help="The most a stock experiment may hit; engine=1."
        ),
    ] = None,
    confirm: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Harm a target that is production: say its name."),
    ] = None,
    game_day: Annotated[
        str | None, typer.Option(metavar="ID", help="The same, as part of this game day.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what a run would do, and touch nothing.")
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(help="Of accepted runs, which say how runs differ; default: baselines/."),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> int:
    """Run experiments on a target, judge them and write their reports; the worst verdict counts."""
    from faultload.cli.running import Options, dry_run_all, list_all, run_all
    from faultload.load.plan import address_of
    from faultload.run.consent import Consent
    from faultload.spec import GivenBlock

    if load_listen is not None:
        address_of(load_listen)
    given = {"workers": workers, "listen": load_listen}
    load = {key: value for key, value in given.items() if value is not None}
    block = GivenBlock.of(scenario, slos or [], blast_radius or [])
    catalogue = dataclasses.replace(catalogue_of(root), given=block)
    asked = Selection(experiments or (), everything, expression, sample, sample_seed, order)
    chosen = choose(catalogue, asked, target)
    consent = Consent.of(confirm, game_day)
    place = store or str(catalogue.store)
    options = Options(
        seed, reports, set_ or (), load, cooldown_max, as_json, consent, place, reruns
    )
    do = list_all if list_ else dry_run_all if dry_run else run_all
    return do(catalogue, chosen, options)


@app.command()
def judge(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    slos: Annotated[Path | None, typer.Option(help="Judge against this OpenSLO file.")] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say which rows and samples each number rests on; write nothing."
        ),
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(
            help="Hold them beside the accepted runs that are here now, a folder or"
            " s3://BUCKET/PREFIX; default: those they were held beside."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Judge stored runs again, against their own SLOs or others; no cluster is needed."""
    if explain:
        return _explain(runs, slos, store, as_json=as_json)
    return _again(runs, slos, store, as_json=as_json)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")], as_json: Json = False
) -> int:
    """Write the reports of stored runs again."""
    return _again(runs, None, None, as_json=as_json)


@app.command()
def recover(
    forget: Annotated[
        str, typer.Option(help="Drop this run's state and undo nothing: you have seen to it.")
    ] = "",
    expired: Annotated[
        bool,
        typer.Option(
            "--expired", help="Undo what outlived its time on --target, by the marks left there."
        ),
    ] = False,
    target: Annotated[str, typer.Option(help="With --expired: which cluster.")] = "",
    every: Annotated[
        float | None,
        typer.Option(
            min=1, metavar="SECONDS", help="With --expired: again and again, until SIGTERM."
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> int:
    """Undo what a crashed run left in force, and seal its record."""
    from faultload.run.recover import recover as recover_all
    from faultload.run.recover import recover_expired

    if expired != bool(target) or (expired and forget) or (every and not expired):
        raise UsageError(
            "expected --expired and --target NAME together, no --forget with them and no --every"
            " without"
        )
    if every:
        from faultload.run.sweeping import sweep

        sweep(lambda: recover_expired(catalogue_of(root), target), every, say)
        return int(ExitCode.PASS)
    if expired:
        undone = recover_expired(catalogue_of(root), target)
        if as_json:
            echo_json(undone)
        else:
            echo_lines(undone or ["nothing has expired"])
        return int(ExitCode.PASS)
    outcomes = recover_all(forget)
    if as_json:
        echo_json([dataclasses.asdict(outcome) for outcome in outcomes])
    elif not outcomes:
        say("nothing to recover")
    for outcome in [] if as_json else outcomes:
        done = outcome.problem or "; ".join(outcome.reverted) or "no fault was in force"
        say(f"{outcome.run_id}: {done}")
        if outcome.sealed:
            say(f"  sealed as crashed: {relative(outcome.sealed)}")
    return int(ExitCode.INVALID) if any(o.problem for o in outcomes) else int(ExitCode.PASS)


@app.command()
def stop(
    run_id: Annotated[str, typer.Argument(help="Of which; not needed while only one runs.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every run on this machine.")] = False,
    reason: Annotated[str, typer.Option(help="Goes into the record.")] = "",
    as_json: Json = False,
) -> int:
    """End a run that another terminal started; wait until it is reverted and sealed."""
    from faultload.run import stopping

    if run_id and everything:
        raise UsageError(f"expected one run or --all, found both {run_id!r} and --all")
    outcomes = stopping.stop(run_id, everything=everything, reason=reason)
    if as_json:
        echo_json([dataclasses.asdict(outcome) for outcome in outcomes])
    for outcome in [] if as_json else outcomes:
        done = outcome.problem or f"reverted and sealed after {outcome.took_s:.1f} s"
        say(f"{outcome.run_id}: {done}")
    return int(ExitCode.INVALID) if any(o.problem for o in outcomes) else int(ExitCode.PASS)


@app.command()
def doctor(root: Root = None, as_json: Json = False) -> int:
    """Check that everything a run needs is here, and that nothing was left behind."""
    from faultload.run.doctor import examine

    checks = examine(root or Path.cwd())
    if as_json:
        echo_json([dataclasses.asdict(check) for check in checks])
    else:
        echo_lines([f"{'ok ' if c.passed else 'NOT'} {c.name}: {c.found}" for c in checks])
    return int(ExitCode.PASS) if all(c.passed for c in checks) else int(ExitCode.MISSING)


def _explain(runs: list[Path], slos: Path | None, store: str | None, *, as_json: bool) -> int:
    from faultload.record import RunDirectory
    from faultload.report.explained import explanation_lines
    from faultload.run.judging import explain_stored

    opened = [RunDirectory.open(path) for path in runs]
    found = [explain_stored(one, slos, _beside(one, store)) for one in opened]
    if as_json:
        echo_json([explanation.as_json() for explanation in found])
    else:
        echo_lines(line for explanation in found for line in explanation_lines(explanation))
    return worst_code([code_of(explanation.verdict) for explanation in found])


def _again(runs: list[Path], slos: Path | None, store: str | None, *, as_json: bool) -> int:
    from faultload.record import RunDirectory
    from faultload.report import render_summary
    from faultload.run.judging import judge_and_report

    codes, documents = [], list[Any]()
    for path in runs:
        directory = RunDirectory.open(path)
        judgement, reports = judge_and_report(directory, slos, _beside(directory, store))
        codes.append(code_of(judgement.verdict))
        if as_json:
            documents.append(json.loads((directory.path / "verdict.json").read_text()))
        else:
            say(render_summary(judgement, directory.manifest()))
            echo_lines([f"wrote {relative(written)}" for written in reports])
    if as_json:
        echo_json(documents)
    return worst_code(codes)


def _beside(run: RunDirectory, store: str | None) -> list[AcceptedRun] | None:
    """Return the accepted runs that a store has now for a run; None: no store was named."""
    if store is None:
        return None
    from faultload.run.baselines import open_store
    from faultload.run.history import earlier_runs_of

    return earlier_runs_of(open_store(store), run)
