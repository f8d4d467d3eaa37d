"""The group `baseline`: what was accepted, kept as numbers, and never changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from faultload.cli.output import Json, echo_json, echo_lines, relative, say
from faultload.errors import UsageError
from faultload.spec.catalogue import STORE

baselines = typer.Typer(no_args_is_help=True)
_Store = Annotated[
    str, typer.Option(help="A folder, to be kept under version control, or s3://BUCKET/PREFIX.")
]


@baselines.command("save")
def save(
    name: Annotated[str, typer.Argument(help="Of the baseline: what it is of.")],
    directory: Annotated[Path, typer.Argument(help="A gate's directory.")],
    side: Annotated[
        str, typer.Option(help="Which side of it: baseline or candidate.")
    ] = "baseline",
    store: _Store = STORE,
) -> None:
    """Add a side of a gate to the store; it counts once it is promoted."""
    from faultload.run.baselines import open_store
    from faultload.run.baselines import save as add

    if side not in ("baseline", "candidate"):
        raise UsageError(f"--side: expected baseline or candidate, found {side!r}")
    saved = add(
        open_store(store), name, directory, "baseline" if side == "baseline" else "candidate"
    )
    say(f"saved {saved.name}@{saved.number}; it counts after: ")
    say(f"  faultload baseline promote {saved.name} {saved.number}")


@baselines.command("accept")
def accept(
    runs: Annotated[list[Path], typer.Argument(help="Run directories of experiments.")],
    store: _Store = STORE,
) -> None:
    """Add runs to the store: once there are five, later ones are judged by how runs differ."""
    from faultload.run.baselines import open_store
    from faultload.run.history import accept as add

    for path in runs:
        saved = add(open_store(store), path)
        say(f"accepted {relative(path)} as {saved.name}@{saved.number}")


@baselines.command("withdraw")
def withdraw(
    runs: Annotated[list[str], typer.Argument(help="Accepted runs, by id or directory.")],
    reason: Annotated[str, typer.Option(help="Why they count no more; goes into the store.")] = "",
    store: _Store = STORE,
) -> None:
    """Have accepted runs count no more; their entries stay, and a new one says so."""
    from faultload.run.baselines import open_store
    from faultload.run.history import withdraw as add

    for run in runs:
        for one in add(open_store(store), run, reason):
            say(f"withdrew {Path(run).name}, accepted as {one.name}@{one.number}")


@baselines.command("list")
def list_(
    name: Annotated[str, typer.Argument(help="Only this one.")] = "",
    store: _Store = STORE,
    as_json: Json = False,
) -> None:
    """List the log of every name, oldest first; *: counts, of baselines. -: was withdrawn."""
    from faultload.record.baseline import Baseline
    from faultload.record.history import AcceptedRun, Withdrawal
    from faultload.run.baselines import entries, open_store

    found = entries(open_store(store), name)
    if as_json:
        rows = [dataclasses.asdict(one) | {"entry": one.entry.model_dump()} for one in found]
        echo_json(rows)
        return
    if not found:
        say(f"{store}: none is saved")
    for one in found:
        mark = "*" if one.promoted else "-" if one.withdrawn else " "
        entry = one.entry
        if isinstance(entry, Baseline):
            count = sum(map(len, next(iter(entry.trials.values()), {}).values()))
            about = f"{count} trials of {entry.gate_id} ({entry.side})"
        elif isinstance(entry, AcceptedRun):
            about = f"accepted {entry.run_id}"
        else:
            does = "withdraws" if isinstance(entry, Withdrawal) else "promotes"
            about = f"{does} {entry.entry}{': ' if entry.reason else ''}{entry.reason}"
        echo_lines([f"{mark} {one.name}@{one.number}  {entry.saved}  {about}"])


@baselines.command("promote")
def promote(
    name: Annotated[str, typer.Argument(help="Of the baseline.")],
    number: Annotated[str, typer.Argument(help="As baseline list has it.")],
    reason: Annotated[str, typer.Option(help="Goes into the store.")] = "",
    store: _Store = STORE,
) -> None:
    """Say which saved baseline is the accepted one from here on."""
    from faultload.run.baselines import open_store
    from faultload.run.baselines import promote as add

    add(open_store(store), name, number, reason)
    say(f"{name}@{int(number):06d} is the accepted one")
