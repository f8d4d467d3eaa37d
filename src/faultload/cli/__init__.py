"""The command line. Every error ends in one line on standard error and its own exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer
from typer.main import get_command

from faultload.errors import ExitCode, FaultloadError, Interrupted, told_by_machine
from faultload.run.streams import hold_streams, silence
from faultload.secrecy import guarded_output, keep_environment, private_files

__all__ = ["invoke", "main"]


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing is raised, and no secret is said."""
    # Imported late: `faultload --help` must not pay for pandas.
    from faultload.cli.commands import app
    from faultload.cli.output import lost

    keep_environment()
    with guarded_output(), private_files():
        try:
            outcome = get_command(app).main(
                list(arguments), prog_name="faultload", standalone_mode=False
            )
        except BaseException as error:  # noqa: BLE001  # the last line of defence
            return int(ExitCode.PASS) if _is_unread(error) else _end(error)
    code = outcome if isinstance(outcome, int) else int(ExitCode.PASS)
    return int(ExitCode.MISSING) if lost and not code else code


def main() -> NoReturn:
    """Entry point of the `faultload` script."""
    hold_streams()
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
            _complain(told_by_machine(error))
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


def _is_unread(error: BaseException) -> bool:
    """Tell whether all that went wrong is that nobody reads our own output any more."""
    if isinstance(error, SystemExit):  # Rich's word for it
        return isinstance(error.__context__, BrokenPipeError)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        return isinstance(error, BrokenPipeError)
    return False


def _complain(text: str) -> None:
    from faultload.cli.output import complain

    for line in text.splitlines() or [text]:
        complain(f"faultload: {line}")
