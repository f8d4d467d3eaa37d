"""Room on the disks that a run writes to: enough to begin, and enough to end in good order.

A disk that fills up must not keep harm from being taken back. So a run does not begin where little
is left, ends while there is still room to say so, and what it cannot write ends it a moment later
rather than at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faultload.errors import (
    ExitCode,
    FaultloadError,
    InvalidRunError,
    MissingError,
    UsageError,
    is_full,
    is_machines,
    told_by_machine,
)
from faultload.record import RunDirectory
from faultload.targets import state_home

TO_BEGIN_BYTES = 64 * 2**20
"""Several times what a run of a few minutes writes."""
TO_GO_ON_BYTES = 16 * 2**20
"""What sealing a record and writing its reports takes, and a second's growth of other writers."""


class Room:
    """What the disks below some folders still take, and what they have refused."""

    def __init__(self, *folders: Path) -> None:
        """Look at nothing yet; the folders exist once somebody asks."""
        self._folders = folders
        self._refused = ""

    @property
    def problem(self) -> str:
        """Why the run had better end now; "" while it may go on."""
        lack = next(filter(None, map(_lack, self._folders)), "")
        return self._refused or (f"{lack}: ended while there is room to say so" if lack else "")

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Write something that is not worth ending a run at once; a refusal is the problem then."""
        try:
            yield
        except OSError as error:
            self._refused = self._refused or f"cannot write {told_by_machine(error)}"


def check_room(reports: Path) -> None:
    """See that reports and state can be written to before anything is started.

    Raises:
        UsageError: a folder cannot be written to.
        MissingError: there is too little room.
    """
    for folder, remedy in (
        (reports, "give --reports a writable folder"),
        (state_home(), "set XDG_STATE_HOME to a writable folder"),
    ):
        there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise UsageError(f"{folder}: not writable; {remedy}")
        if lack := _lack(there, TO_BEGIN_BYTES):
            raise MissingError(f"{lack} to begin a run: make room, or {remedy} on another disk")


@contextmanager
def beginning(directory: Path, state: Path) -> Iterator[None]:
    """Leave nothing behind of a run that could not begin: nothing was observed yet.

    Raises:
        MissingError: a file of it could not be written.
    """
    try:
        yield
    except BaseException as error:
        for made in (directory, state):
            shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError):
            problem = f"the run could not begin: {told_by_machine(error)}"
            raise MissingError(problem + _make_room(error)) from None
        raise


def as_invalid(error: BaseException) -> BaseException:
    """Return what ends a run: where the machine refused something, that is no defect of ours."""
    if is_machines(error):
        return InvalidRunError(f"the machine refused: {told_by_machine(error)}{_make_room(error)}")
    return error


@contextmanager
def sealing(run: RunDirectory, before: BaseException | None) -> Iterator[None]:
    """Say what to do where a record cannot be sealed.

    Args:
        run: whose.
        before: what had ended the run already, and gives the exit code; None: nothing.

    Raises:
        InvalidRunError: it is not sealed.
    """
    try:
        yield
    except OSError as error:
        problem = f"the record could not be sealed: {told_by_machine(error)}; mend that, then run:"
        raise _last(InvalidRunError(f"{run.path}: {problem} faultload recover"), before) from None


@contextmanager
def reporting(run: RunDirectory, before: BaseException | None) -> Iterator[None]:
    """Say what to do where a sealed record's reports cannot be written; arguments as in `sealing`.

    Raises:
        MissingError: they are not written, and without them a verdict is nobody's.
    """
    try:
        yield
    except OSError as error:
        problem = f"the record is sealed, its reports are not written ({told_by_machine(error)})"
        remedy = f"mend that, then run: faultload report {run.path}"
        raise _last(MissingError(f"{run.path}: {problem}; {remedy}"), before) from None


def _lack(folder: Path, wanted: int = TO_GO_ON_BYTES) -> str:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # it is gone or not to be asked: writing to it will tell
        return ""
    if free >= wanted:
        return ""
    return f"{folder}: {free / 2**20:.0f} MiB free on its disk, {wanted / 2**20:.0f} are wanted"


def _make_room(error: OSError) -> str:
    return "; make room" if is_full(error) else ""


def _last(error: FaultloadError, before: BaseException | None) -> FaultloadError:
    """Return the error with what came before it, whose exit code counts."""
    if before is None:
        return error
    both = type(error)(f"{error} (before that: {before})")
    both.exit_code = ExitCode(getattr(before, "exit_code", ExitCode.DEFECT))
    return both
