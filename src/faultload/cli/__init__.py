"""The command line. Every error ends in one line on standard error and its own exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer
from typer.main import get_command

from faultload.errors import ExitCode, FaultloadError, Interrupted

__all__ = ["invoke", "main"]


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing is raised."""
    # Imported late: `faultload --help` must not pay for pandas.
    from faultload.cli.commands import app

    try:
        outcome = get_command(app).main(
            list(arguments), prog_name="faultload", standalone_mode=False
        )
    except BaseException as error:  # noqa: BLE001  # the last line of defence
        return _end(error)
    return outcome if isinstance(outcome, int) else int(ExitCode.PASS)


def main() -> NoReturn:
    """Entry point of the `faultload` script."""
    sys.exit(invoke(sys.argv[1:]))


def _end(error: BaseException) -> int:
    """Say what went wrong in one line and return the exit code for it."""
    code: int = ExitCode.DEFECT
    match error:
        case typer.Exit():
            code = error.exit_code
        case SystemExit():
            code = error.code if isinstance(error.code, int) else ExitCode.DEFECT
        case typer.TyperException():
            code = ExitCode.USAGE
            if mistake := _mistake(error):  # empty where the help was asked for by giving nothing
                _complain(mistake)
        case KeyboardInterrupt() | typer.Abort():
            code = ExitCode.SIGINT
            _complain("interrupted")
        case FaultloadError() | Interrupted():
            code = error.exit_code
            _complain(str(error))
        case OSError():
            code = ExitCode.MISSING
            where = f"{error.filename}: " if error.filename else ""
            _complain(f"{where}{error.strerror or error}")
        case _:
            _complain(f"a defect in faultload, please report it: {type(error).__name__}: {error}")
            if os.environ.get("FAULTLOAD_TRACEBACK"):
                traceback.print_exception(error)
            else:
                _complain("set FAULTLOAD_TRACEBACK=1 to see where")
    return int(code)


def _mistake(error: typer.TyperException) -> str:
    """Return a usage error on one line, with the command whose help explains it."""
    say = getattr(error, "format_message", error.__str__)
    context = getattr(error, "ctx", None)
    text = " ".join(str(say()).split())
    return f"{text} (see {context.command_path} --help)" if context else text


def _complain(text: str) -> None:
    for line in text.splitlines() or [text]:
        sys.stderr.write(f"faultload: {line}\n")
