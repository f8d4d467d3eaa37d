"""One child process: started in its own group, ended with us, its exit noticed at once.

On Linux the kernel kills every child when we die, whatever killed us. Other systems have no such
promise: there the engines and the router watch their parent themselves, while Prometheus and Redis
outlive a supervisor that was killed with SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LAST_LINE_BYTES = 4096

_running: set[Process] = set()


def watch_children(loop: asyncio.AbstractEventLoop) -> None:
    """Notice exits from now on. A signal, not threads: children must be forked by a lone thread."""
    loop.add_signal_handler(signal.SIGCHLD, _reap)


def _reap() -> None:
    for process in list(_running):
        process.poll()


def _dies_with_parent() -> Callable[[], None] | None:
    """Return what a child does before exec, None where the system has no such thing."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return before_exec


class Process:
    """A running or ended child; its process group is its own, its id the group's."""

    def __init__(self, argv: Sequence[str], log: Path, pass_fds: Sequence[int] = ()) -> None:
        """Start it; what it prints is appended to `log`."""
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                pass_fds=tuple(pass_fds),
                start_new_session=True,
                preexec_fn=_dies_with_parent(),  # noqa: PLW1509  # we have one thread
            )
        self._ended = asyncio.Event()
        _running.add(self)
        self.poll()  # its SIGCHLD may have come before it was in the set

    @property
    def pid(self) -> int:
        """Process id, and id of its group."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs, the exit code, or minus the signal that ended it."""
        return self._popen.returncode

    def poll(self) -> None:
        """Notice an exit, if there was one."""
        if self._popen.poll() is None:
            return
        _running.discard(self)
        # A container's end takes what its first process left behind.
        self._signal_group(signal.SIGKILL)
        self._ended.set()

    def signal(self, signum: int, *, group: bool = True) -> bool:
        """Send a signal to the whole group or to the child alone; False when it has ended."""
        self.poll()
        if self.returncode is not None:
            return False  # the number may be somebody else's by now
        if group:
            self._signal_group(signum)
        else:
            self._popen.send_signal(signum)
        return True

    def _signal_group(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signum)

    async def ended(self) -> int:
        """Wait for the exit; return the code."""
        await self._ended.wait()
        assert self.returncode is not None  # noqa: S101  # poll() set it before the event
        return self.returncode

    async def stop(self, grace_s: float) -> None:
        """End it: SIGTERM to the child alone, as a kubelet does; SIGKILL to all after the grace."""
        self.signal(signal.SIGTERM, group=False)
        self.signal(signal.SIGCONT)  # a stopped process would keep its SIGTERM for later
        try:
            await asyncio.wait_for(self.ended(), grace_s)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await asyncio.wait_for(self.ended(), 5.0)


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty, "(empty log)" when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LAST_LINE_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "(empty log)")
