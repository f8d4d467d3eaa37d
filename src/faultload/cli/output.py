"""Options and output shared by the commands."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from faultload.errors import ExitCode
from faultload.run.streams import Voice, silence
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
    say(json.dumps(data, indent=2, sort_keys=True, default=str, allow_nan=False))


def echo_lines(lines: Iterable[str]) -> None:
    """Print one line each."""
    for line in lines:
        say(line)


def say(text: str) -> None:
    """Print; a reader that went away (`| head`, a closed terminal) changes no exit code."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        silence(sys.stdout)
        if error.errno not in (errno.EPIPE, errno.EIO):
            lost.append(f"standard output could not be written: {error.strerror}")
            complain(f"faultload: {lost[-1]}")


lost: list[str] = []
"""Why somebody who reads our output did not get all of it; empty: whoever reads got it."""


def complain(text: str) -> None:
    """Print on standard error, as it is now (it may be guarded), while somebody reads that."""
    voice = Voice(sys.stderr)
    voice.write(f"{text}\n")
    voice.flush()


def code_of(verdict: str) -> int:
    """Return the exit code of a verdict."""
    return int(ExitCode[str(verdict).upper()])


def worst_code(codes: Sequence[int]) -> int:
    """Return the code that counts: a refusal or a signal, else the worst verdict, else a skip."""
    ended = [code for code in codes if code > ExitCode.MISSING]
    order = (ExitCode.INVALID, ExitCode.FAIL, ExitCode.INCONCLUSIVE, ExitCode.PASS)
    counted = [*ended, *(code for code in order if code in codes), *codes]
    return int(counted[0]) if counted else int(ExitCode.INCONCLUSIVE)


def relative(path: Path) -> str:
    """Return a path as a person standing here would write it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
