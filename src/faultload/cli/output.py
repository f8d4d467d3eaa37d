"""Options and output shared by the commands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from faultload.errors import ExitCode
from faultload.spec import Catalogue

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Root = Annotated[
    Path | None,
    typer.Option(help="Folder with experiments/ and targets/; default: here or above."),
]


def catalogue_of(root: Path | None) -> Catalogue:
    """Return the catalogue of `--root`, else the one around the current folder."""
    return Catalogue.find((root or Path.cwd()).resolve())


def echo_json(data: Any) -> None:
    """Print strict JSON; paths and enums as text."""
    typer.echo(json.dumps(data, indent=2, sort_keys=True, default=str, allow_nan=False))


def echo_lines(lines: Iterable[str]) -> None:
    """Print one line each."""
    for line in lines:
        typer.echo(line)


def code_of(verdict: str) -> int:
    """Return the exit code of a verdict."""
    return int(ExitCode[str(verdict).upper()])


def worst_code(codes: Sequence[int]) -> int:
    """Return the code that counts: a refusal or a signal, else the worst verdict."""
    special = [code for code in codes if code >= ExitCode.USAGE]
    if special:
        return special[0]
    order = (ExitCode.INVALID, ExitCode.FAIL, ExitCode.INCONCLUSIVE, ExitCode.PASS)
    return next((int(code) for code in order if code in codes), int(ExitCode.INCONCLUSIVE))


def relative(path: Path) -> str:
    """Return a path as a person standing here would write it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
