"""`faultload gate`: has the candidate got worse than the baseline?"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from faultload.errors import UsageError
from faultload.spec.catalogue import STORE

if TYPE_CHECKING:
    from faultload.report.gate import GateReport
    from faultload.run.gate.plan import Asked


def gate(  # one parameter an option
    directory: Annotated[
        Path | None, typer.Argument(help="With --stored: a gate's directory, judged again.")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="What is accepted: a target, by name or path, or a URL."),
    ] = None,
    candidate: Annotated[list[str] | None, typer.Option(help="What is proposed, likewise.")] = None,
    baseline_set: Annotated[
        list[str] | None, typer.Option(help="key=value of the baseline's local platform.")
    ] = None,
    candidate_set: Annotated[
        list[str] | None, typer.Option(help="key=value of the candidate's local platform.")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="quick: one look, for pull requests. full: up to three.")
    ] = "quick",
    confirm: Annotated[
        bool, typer.Option("--confirm", help="A fail counts only if a fresh repetition fails, too.")
    ] = False,
    scenario: Annotated[str, typer.Option(help="The load.")] = "chat-steady",
    slos: Annotated[
        list[str] | None, typer.Option(help="SLOs, by name or file; default: the scenario's.")
    ] = None,
    traces: Annotated[
        int, typer.Option(min=2, max=50, help="Fixed traces that each side is asked.")
    ] = 5,
    trial_s: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=3600,
            metavar="SECONDS",
            help="Measured in each trial; default: the target's baseline_s, else what 1000"
            " requests take.",
        ),
    ] = None,
    warmup_s: Annotated[
        float | None,
        typer.Option(min=0, max=3600, metavar="SECONDS", help="Dropped at each trial's start."),
    ] = None,
    cooldown_s: Annotated[
        float | None, typer.Option(min=0, max=600, metavar="SECONDS", help="Between two trials.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the traces; default: the scenario's.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=100, help="Load workers, on both sides.")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Variable with the API key of plain URLs."),
    ] = None,
    history: Annotated[
        str | None, typer.Option(metavar="NAME", help="Stored baseline: for the noise alone.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Of baselines: a folder, or s3://BUCKET/PREFIX.")
    ] = None,
    differs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="With --stored: what of a fingerprint is meant to differ."
        ),
    ] = None,
    stored: Annotated[
        bool,
        typer.Option(
            "--stored",
            help="Touch no platform: judge DIRECTORY again, or compare stored runs, or a baseline"
            " by name with the candidate of a gate.",
        ),
    ] = False,
    reports: Annotated[Path | None, typer.Option(help="Where the gate's directory goes.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> int:
    """Compare two sides by interleaved trials: is the candidate worse? Never asks one request."""
    old, new = baseline or [], candidate or []
    place = store or str((root or Path.cwd()) / STORE)
    if stored:
        return _stored(directory, old, new, place, differs or (), as_json=as_json)
    if directory is not None or len(old) != 1 or len(new) != 1:
        raise UsageError(
            "expected --baseline and --candidate, once each: a target's name or a URL; stored runs"
            " and gates are compared with --stored"
        )
    from faultload.run.gate.plan import Asked, Mode

    if mode not in set(Mode):
        raise UsageError(f"--mode: expected quick or full, found {mode!r}")
    given = {"workers": workers, "api_key_env": api_key_env}
    asked = Asked(
        baseline=old[0],
        candidate=new[0],
        baseline_set=baseline_set or (),
        candidate_set=candidate_set or (),
        scenario=scenario,
        slos=slos or (),
        mode=Mode(mode),
        confirm=confirm,
        has_history=history is not None,
        traces=traces,
        trial_s=trial_s,
        warmup_s=warmup_s,
        cooldown_s=cooldown_s,
        seed=seed,
        load={key: value for key, value in given.items() if value is not None},
        reports=reports,
        repeat=shlex.join(["faultload", *sys.argv[1:]]),
    )
    return _live(asked, root, place, history, as_json=as_json)


def _live(
    asked: Asked, root: Path | None, place: str, history: str | None, *, as_json: bool
) -> int:
    from faultload.run.baselines import accepted, open_store
    from faultload.run.gate.conduct import Gate
    from faultload.run.gate.judging import judge_and_write
    from faultload.run.gate.plan import prepare_gate
    from faultload.run.progress import Silent, make_progress

    catalogue = catalogue_of(root)
    plan = prepare_gate(catalogue, asked)
    past = accepted(open_store(place), history) if history else None
    progress = Silent() if as_json else make_progress(plain=bool(os.environ.get("CI")))
    try:
        progress.note(plan.summary)
        done = Gate(plan, progress, history=past).run()
    finally:
        progress.close()
    report, written = judge_and_write(done)
    return _end(report, written, as_json=as_json)


def _stored(
    directory: Path | None,
    old: list[str],
    new: list[str],
    place: str,
    differs: list[str] | tuple[()],
    *,
    as_json: bool,
) -> int:
    from faultload.record.gate import GateDirectory
    from faultload.run.baselines import accepted, open_store
    from faultload.run.gate.judging import judge_and_write
    from faultload.run.gate.stored import compare_with_baseline

    if directory is not None:
        if old or new:
            raise UsageError("expected a gate's directory, or --baseline and --candidate; not both")
        report, written = judge_and_write(GateDirectory.open(directory))
        return _end(report, written, as_json=as_json)
    if not old or not new:
        raise UsageError("--stored: expected a gate's directory, or --baseline and --candidate")
    if len(old) == len(new) == 1 and not Path(old[0]).is_dir():
        saved = accepted(open_store(place), old[0])
        report = compare_with_baseline(saved, Path(new[0]), differs=differs)
        return _end(report, [], as_json=as_json)
    return _runs([Path(one) for one in old], [Path(one) for one in new], as_json=as_json)


def _runs(baseline: list[Path], candidate: list[Path], *, as_json: bool) -> int:
    from faultload.run.gate.runs import compare_runs

    results = compare_runs(baseline, candidate)
    if as_json:
        echo_json([dataclasses.asdict(result) for result in results])
    else:
        echo_lines([result.sentence for result in results])
        say(
            "note: runs of other sessions: a platform that did not change may fail in 14 of 100"
            " cases (docs/gate.md)"
        )
    return worst_code([code_of(result.verdict) for result in results])


def _end(report: GateReport, written: list[Path], *, as_json: bool) -> int:
    if as_json:
        echo_json(report.as_json())
    else:
        echo_lines(report.lines())
        echo_lines([f"wrote {relative(path)}" for path in written])
    return code_of(report.verdict)
