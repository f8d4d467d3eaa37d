"""Asking the person at the terminal whether production is really meant."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from faultload.errors import RefusedError
from faultload.report.formats import plural
from faultload.run.plan import RunPlan


def ask_person(plans: Sequence[RunPlan]) -> None:
    """Have whoever sits at a terminal type the name of a production target once more.

    A command line comes back with one key, a typed name does not. Nobody is asked where nobody
    sits (`--confirm` was written into a pipeline, on purpose), nor as part of a game day.

    Raises:
        RefusedError: something else was typed, or nothing.
    """
    target, consent = plans[0].target, plans[0].consent
    at_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if not target.production or consent.game_day or not at_terminal:
        return
    for plan in plans:
        faults = ", ".join(name for name, _ in plan.faults)
        typer.echo(f"{plan.experiment.name}: {faults}, {plan.length_s / 60:.1f} minutes", err=True)
    count = plural(len(plans), "experiment")
    typer.echo(
        f"{count} on {target.name}, which is production. Type its name: ", err=True, nl=False
    )
    if sys.stdin.readline().strip() != target.name:
        raise RefusedError(f"{target.name!r} was not typed: nothing was touched")
