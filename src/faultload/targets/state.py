"""State that outlives a process: locks, injection journals, platforms left up."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from faultload.errors import MissingError, RefusedError, UsageError, is_full, told_by_machine

_NAMED_WITHIN_S = 0.5
"""Who takes a lock writes its name at once; a moment is enough."""


def state_home() -> Path:
    """Return `$XDG_STATE_HOME/faultload`, made if need be, readable by its owner only.

    Raises:
        UsageError: it cannot be made or written to.
        MissingError: there is no room for it.
    """
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    home = Path(base) / "faultload"
    with keeping_state(home):
        home.mkdir(parents=True, mode=0o700, exist_ok=True)
        found = home.stat()
        if found.st_mode & 0o077 and found.st_uid == os.geteuid():
            home.chmod(0o700)
    if not os.access(home, os.W_OK | os.X_OK):
        raise UsageError(f"{home}: not writable; set XDG_STATE_HOME to a writable folder")
    return home


@contextmanager
def keeping_state(folder: Path) -> Iterator[None]:
    """Say in one line why nothing can be kept in `folder`, and what to do.

    Raises:
        UsageError: it cannot be written to.
        MissingError: there is no room, or the machine has nothing left to open it with.
    """
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        problem = f"{folder}: cannot keep state there: {told_by_machine(error)}"
        raise UsageError(f"{problem}; set XDG_STATE_HOME to a writable folder") from None
    except OSError as error:
        problem = f"{folder}: cannot keep state there: {told_by_machine(error)}"
        if is_full(error):
            problem += "; make room, or set XDG_STATE_HOME to a folder on another disk"
        raise MissingError(problem) from None


def is_locked(folder: Path) -> bool:
    """Tell whether somebody alive holds the `TargetLock` of a folder."""
    try:
        with TargetLock(folder, "look"):
            return False
    except RefusedError:
        return True


def holder_of(folder: Path) -> str:
    """Return who holds the `TargetLock` of a folder, a run id; "" while nobody alive does."""
    try:
        if not is_locked(folder):
            return ""
        return str(json.loads((folder / "lock").read_text(encoding="utf-8"))["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # taken or dropped this very moment


class TargetLock:
    """One run a target. The kernel drops the lock when its holder dies, however it dies."""

    def __init__(self, folder: Path, holder: str, *, to_undo: bool = False) -> None:
        """Lock `folder` (made if need be) in the name of `holder`, a run id.

        `to_undo`: only to take harm back, which must not fail for want of room for a name.
        """
        self._to_undo = to_undo
        self._path = folder / "lock"
        self._holder = holder
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            RefusedError: another run holds it; the error says which.
            UsageError, MissingError: it cannot be kept there.
        """
        with keeping_state(self._path.parent):
            self._path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self._take()
            except BaseException:  # what is not closed here keeps the lock as long as we live
                os.close(self._descriptor)
                self._descriptor = -1
                raise
        return self

    def _take(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                f"the target is locked by another run ({_holder(self._descriptor)});"
                " wait for it to end"
            ) from None
        about = {
            "run": self._holder,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since_unix_s": round(time.time(), 3),
        }
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(about).encode(), 0)
        except OSError:
            if not self._to_undo:
                raise

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            with suppress(OSError):  # it is released all the same
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def _holder(descriptor: int) -> str:
    """Return who holds a lock, in words; whoever took it just now may not have said so yet."""
    until_s = time.monotonic() + _NAMED_WITHIN_S
    while True:
        try:
            about = json.loads(os.pread(descriptor, 4096, 0))
            since = datetime.fromtimestamp(about["since_unix_s"], UTC).strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            )
            return f"{about['run']}, pid {about['pid']} on {about['host']}, since {since}"
        except (ValueError, KeyError, TypeError, OverflowError):
            if time.monotonic() > until_s:
                return "it does not say which"
        time.sleep(0.01)
