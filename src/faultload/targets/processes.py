"""Children that die with us and are ended within a bound."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> Callable[[], None] | None:
    """Return a `preexec_fn` that has the kernel kill the child when its parent dies.

    None where the system cannot do it (only Linux can); there the children watch their parent.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def set_parent_death_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)

    return set_parent_death_signal


def spawn(
    arguments: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    answers: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, its output going to `log`.

    Args:
        arguments: program and arguments; no secrets, everyone on the machine can read them.
        log: appended to.
        environment: added to our own.
        answers: where its standard output goes instead; its standard input is then a pipe.
    """
    with log.open("ab") as errors, (answers or log).open("ab") as output:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE if answers else subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            # Threads of ours may run by now; what is called between fork and exec takes no lock.
            preexec_fn=die_with_parent(),  # noqa: PLW1509
        )


def end(process: subprocess.Popen[bytes], grace_s: float, first: int = signal.SIGTERM) -> int:
    """End a child's whole group: `first`, then after `grace_s` SIGKILL. Idempotent.

    Returns:
        Its exit code, negative for a signal.
    """
    if process.poll() is None:
        signal_group(process, first)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    signal_group(process, signal.SIGKILL)  # what it left behind in its group
    return process.wait(10)


def signal_group(process: subprocess.Popen[bytes], signum: int) -> None:
    """Send a signal to a child and all it started; nothing happens where they are gone."""
    try:
        os.killpg(process.pid, signum)
    except (ProcessLookupError, PermissionError):
        return


def last_line(log: Path) -> str:
    """Return the last line of a log that says something, "" if there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
