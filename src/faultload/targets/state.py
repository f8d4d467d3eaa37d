"""State that outlives a process: locks, injection journals, platforms left up."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Self

from faultload.errors import RefusedError, UsageError


def state_home() -> Path:
    """Return `$XDG_STATE_HOME/faultload`, made if need be, readable by its owner only.

    Raises:
        UsageError: it cannot be made or written to.
    """
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    home = Path(base) / "faultload"
    try:
        home.mkdir(parents=True, mode=0o700, exist_ok=True)
        if home.stat().st_mode & 0o077:
            home.chmod(0o700)
    except OSError as error:
        raise UsageError(
            f"{home}: cannot keep state there: {error}; set XDG_STATE_HOME to a writable folder"
        ) from None
    if not os.access(home, os.W_OK):
        raise UsageError(f"{home}: not writable; set XDG_STATE_HOME to a writable folder")
    return home


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

    def __init__(self, folder: Path, holder: str) -> None:
        """Lock `folder` (made if need be) in the name of `holder`, a run id."""
        self._path = folder / "lock"
        self._holder = holder
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            RefusedError: another run holds it; the error says which.
        """
        self._path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 4096).decode(errors="replace").strip()
            os.close(self._descriptor)
            self._descriptor = -1
            raise RefusedError(
                f"the target is locked by another run ({holder or 'holder unknown'});"
                " wait for it to end"
            ) from None
        os.ftruncate(self._descriptor, 0)
        about = {
            "run": self._holder,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since_unix_s": round(time.time(), 3),
        }
        os.pwrite(self._descriptor, json.dumps(about).encode(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1
