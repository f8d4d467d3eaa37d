"""Every error the harness raises, and the exit codes it ends with.

FaultloadError                      something went wrong; carries the exit code
├── UsageError              64      a bad file, key, argument or name: the user can mend it
│   └── SpecError           64      … in a YAML file: names the file, the key and the remedy
├── SeveralErrors           64      … of several files, a line each (or the code of the first)
├── MissingError            69      something needed is not here: a binary, a port, a capability
│   ├── SkippedError        69      … a capability of the target: the experiment does not apply
│   └── TargetGoneError     69      … the target itself, for certain: it no longer exists
├── RefusedError            75      we will not start: locked, unreverted fault, freeze
├── AbortedError             1      a stop condition ended the run
├── InvalidRunError          3      the run cannot tell what happened (no load, …)
│   └── FaultError           3      … because the fault could not be planned, injected or proven
└── DefectError             70      a state that should be impossible: our bug

`Interrupted` is not an error of ours: it says that a person ended the run, mostly by a signal.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import signal
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TypeGuard, TypeVar

T = TypeVar("T")
_ENDLESS = re.compile(r"\S{500,}")


class ExitCode(IntEnum):
    """What `faultload` exits with; docs/architecture.md lists them for scripts."""

    PASS = 0
    FAIL = 1
    INCONCLUSIVE = 2
    INVALID = 3
    USAGE = 64
    MISSING = 69
    DEFECT = 70
    REFUSED = 75
    SIGHUP = 129
    SIGINT = 130
    SIGQUIT = 131
    SIGTERM = 143


class FaultloadError(Exception):
    """Root of the tree; `exit_code` is what the command ends with when nobody handles it."""

    exit_code: ExitCode = ExitCode.DEFECT


class UsageError(FaultloadError):
    """The user can mend this: a bad argument, name or file."""

    exit_code = ExitCode.USAGE


class SpecError(UsageError):
    """A YAML file says something we do not understand.

    Args:
        file: the file at fault.
        key: dotted path of the key inside it, empty when the whole file is at fault.
        problem: what was expected and what was found, and what to do.
    """

    def __init__(self, file: Path | str, key: str, problem: str) -> None:
        """Build the one line a person reads: file, key, problem."""
        self.file, self.key, self.problem = Path(file), _on_one_line(key), _on_one_line(problem)
        parts = (_on_one_line(str(file)), self.key, self.problem)
        super().__init__(": ".join(part for part in parts if part))


class SeveralErrors(FaultloadError):  # noqa: N818  # it says how many
    """Several things are wrong at once, a line each; the code is that of what to mend first."""

    def __init__(self, errors: Sequence[FaultloadError]) -> None:
        """Keep what each of them says, once."""
        codes = [error.exit_code for error in errors]
        self.exit_code = ExitCode.USAGE if ExitCode.USAGE in codes else codes[0]
        super().__init__("\n".join(dict.fromkeys(map(str, errors))))


class MissingError(FaultloadError):
    """Something needed is not here: a program, a port, a capability of the target."""

    exit_code = ExitCode.MISSING


class SkippedError(MissingError):
    """The target lacks a capability: the experiment does not apply to it."""


class TargetGoneError(MissingError):
    """The target no longer exists, and whatever was done to it is gone with it.

    Not raised for a target that merely does not answer: what is silent may still be harmed.
    """


class RefusedError(FaultloadError):
    """We will not start: the target is locked, harmed, frozen or not allow-listed."""

    exit_code = ExitCode.REFUSED

    def __init__(self, problem: str) -> None:
        """Keep the one line a person reads, whatever text of a file it quotes."""
        super().__init__(_on_one_line(problem))


class AbortedError(FaultloadError):
    """A stop condition ended the run; says which, what was seen and when."""

    exit_code = ExitCode.FAIL


class InvalidRunError(FaultloadError):
    """The run cannot say what happened, so it must not say pass or fail."""

    exit_code = ExitCode.INVALID


class NotSteadyError(InvalidRunError):
    """The steady state was broken before any fault; nothing was injected."""


class FaultError(InvalidRunError):
    """A fault could not be planned, injected, proven, reverted or proven gone."""


class DefectError(FaultloadError):
    """A state that should be impossible. This is a bug in faultload; please report it."""


class Interrupted(BaseException):  # like KeyboardInterrupt: it is not an error
    """A person asked the run to end. Raised outside `Exception` so that no handler swallows it."""

    def __init__(self, signum: int, why: str = "") -> None:
        """Remember which signal, for the exit code; `why` is said where it was none."""
        self.signum = signum
        super().__init__(why or f"interrupted by {signal.Signals(signum).name}")

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells report it."""
        return 128 + self.signum


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.EIO})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def told_by_machine(error: OSError) -> str:
    """Return what the operating system refused in one clause, with the file where there is one."""
    where = f"{os.fspath(error.filename)}: " if isinstance(error.filename, str) else ""
    return f"{where}{error.strerror or error}"


def is_full(error: OSError) -> bool:
    """Tell whether there was no room on a disk, or none that we may use."""
    return error.errno in _NO_ROOM


def is_machines(error: BaseException) -> TypeGuard[OSError]:
    """Tell whether the machine refused what it grants at other times: room, files, rights."""
    refusals = _NO_ROOM | _EXHAUSTED | _FORBIDDEN
    return isinstance(error, OSError) and error.errno in refusals


def all_or_none(makers: Iterable[Callable[[], T]]) -> list[T]:
    """Return what each of them makes.

    Raises:
        FaultloadError: what kept one from it; of several, all that is wrong.
    """
    made, errors = list[T](), list[FaultloadError]()
    for make in makers:
        try:
            made.append(make())
        except FaultloadError as error:
            errors.append(error)
    if len(errors) > 1:
        raise SeveralErrors(errors)
    if errors:
        raise errors[0]
    return made


def _on_one_line(text: str) -> str:
    """Return a text without endless words, and with what steers a terminal escaped."""
    short = _ENDLESS.sub(lambda word: f"{word[0][:80]}...", text)
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in short)


def nearest(name: str, known: Iterable[object]) -> str:
    """Return "; did you mean 'x'?" for the closest known name, or "" when none is close.

    Names of a mapping that YAML read as numbers or dates are left out.
    """
    names = sorted(one for one in known if isinstance(one, str))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
