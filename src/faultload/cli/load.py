"""The group `load`: what a machine that only makes load needs."""

from __future__ import annotations

from typing import Annotated

import typer

load = typer.Typer(no_args_is_help=True)


@load.callback()
def _group() -> None:
    """Keep `worker` a command of its own, though it is the only one."""


@load.command("worker")
def worker(
    master: Annotated[str, typer.Option(help="HOST:PORT at which a load's master listens.")],
) -> None:
    """Make a share of a load whose master runs on another machine, and end with it."""
    from faultload.load import be_worker

    be_worker(master)
