"""Keeps one child process running: starts it, probes it, starts it again after a back-off."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inference_platform.local.placement import Backoff
from inference_platform.local.process import Process
from inference_platform.local.settings import Readiness

Phase = Literal["starting", "ready", "backoff", "stopped"]
Note = Callable[[str, str, str], None]  # reason, object, message


@dataclass(frozen=True)
class Recipe:
    """What a unit is and how it is started.

    Attributes:
        name: of the replica or component; also of its log.
        kind: replica or component, as events name it.
        url: where it listens.
        command: its command line; True asks for that of a very first start.
        probe: says whether it is ready.
        pass_fds: file descriptors that it inherits.
        before: what has to be done once before the first start: an image pulled, files fetched. It
            returns when that is done, however often it has to try.
    """

    name: str
    kind: str
    url: str
    command: Callable[[bool], list[str]]
    probe: Callable[[], Awaitable[bool]]
    log: Path
    pass_fds: tuple[int, ...] = ()
    before: Callable[[], Awaitable[None]] | None = None


class Unit:
    """One replica or component over all the processes it has had.

    Attributes:
        uid: names one process of it, as a pod's uid names one pod; "" before the first.
        phase: starting (runs, not ready, be it not yet or no longer), ready, backoff (ended, will
            start again), stopped (ended, will not start by itself).
        restarts: starts after the first.
        started_unix: start of the last process, None before the first.
        ready_unix: since when it is ready, None while it is not.
        held: it stays down until it is told to start.
        lost: the machine under it is gone: nothing of it runs, and nobody there to say so.
        exits: how often a process of it has ended.
        stopped: which of its processes SIGSTOP was sent to last: `all`, `server`, `engine-core`.
    """

    def __init__(self, recipe: Recipe, backoff: Backoff, readiness: Readiness, note: Note) -> None:
        """Start nothing yet; `run` does."""
        self.recipe = recipe
        self.uid = ""
        self.phase: Phase = "stopped"
        self.restarts = 0
        self.started_unix: float | None = None
        self.ready_unix: float | None = None
        self.held = False
        self.lost = False
        self.exits = 0
        self.stopped: set[str] = set()
        self._backoff = backoff
        self._readiness = readiness
        self._note = note
        self._process: Process | None = None
        self._wake = asyncio.Event()
        self._missed = 0

    @property
    def object(self) -> str:
        """How events name it."""
        return f"{self.recipe.kind}/{self.recipe.name}"

    @property
    def ready(self) -> bool:
        """Whether it runs and its probe says that it serves."""
        return self.phase == "ready"

    @property
    def pid(self) -> int | None:
        """Of the running process, None while there is none."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def run(self) -> None:
        """Keep a process running until this task is cancelled; `stop` ends the last one."""
        if self.recipe.before is not None:
            self.phase = "starting"
            await self.recipe.before()
        while True:
            self._start()
            ready_s = await self._until_exit()
            pause_s = self._backoff.next_s(ready_s)
            if not self.held:
                self.phase = "backoff"
                self._note("BackOff", self.object, f"restarts in {pause_s:g} s")
                await self._sleep(pause_s)
            if self.held:
                self.phase = "stopped"
                self._note("Stopped", self.object, "held down until it is told to start")
                await self._wake.wait()

    def send(self, signum: signal.Signals, *, hold: bool = False, group: bool = True) -> int | None:
        """Signal the process.

        Args:
            signum: which signal.
            hold: do not restart it when it ends, until `release`.
            group: signal those too that it has started.

        Returns:
            The process id, or None when no process runs; a hold counts nevertheless.
        """
        if hold:
            self.held = True
            self._wake.clear()
        if self._process is None or not self._process.signal(signum, group=group):
            return None
        self.mark(signum, "all" if group else "server")
        deadly = signum in {signal.SIGKILL, signal.SIGTERM}
        reason = "Killing" if deadly else "Signalled"
        self._note(reason, self.object, f"{signum.name} to process {self._process.pid}")
        return self._process.pid

    def mark(self, signum: signal.Signals, process: str) -> None:
        """Note that a process of it stands still, or does no longer."""
        if signum is signal.SIGSTOP:
            self.stopped.add(process)
        elif signum is signal.SIGCONT:
            self.stopped -= {process} if process != "all" else self.stopped

    def release(self) -> None:
        """Start it now, if it is held down or in back-off."""
        self.held = False
        if self.pid is None:  # a running one would skip its next back-off
            self._wake.set()

    def lose(self) -> None:
        """End the process as a power cut does; phase and readiness stay what was last heard."""
        self.lost = True
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until no process runs."""
        if self._process is not None:
            await self._process.ended()

    async def stop(self, grace_s: float) -> None:
        """End the process for good."""
        if self._process is not None and self._process.returncode is None:
            await self._process.stop(grace_s)
        self.phase, self.ready_unix = "stopped", None

    def _start(self) -> None:
        first = self.started_unix is None
        self.uid = f"u-{secrets.token_hex(6)}"
        self.restarts += 0 if first else 1
        self.started_unix, self.ready_unix = time.time(), None
        self.phase, self._missed = "starting", 0
        self.stopped = set()
        self._wake.clear()
        recipe = self.recipe
        self._process = Process(recipe.command(first), recipe.log, recipe.pass_fds)
        self._note("Started", self.object, f"process {self._process.pid}, uid {self.uid}")

    async def _until_exit(self) -> float:
        """Probe until the process ends; return how long it was ready at the end, s."""
        assert self._process is not None  # noqa: S101  # _start() has just set it
        prober = asyncio.create_task(self._probe_forever())
        try:
            code = await self._process.ended()
        finally:
            prober.cancel()
        ready_s = time.time() - self.ready_unix if self.ready_unix is not None else 0.0
        self.ready_unix, self.phase = None, "backoff"
        self.exits += 1
        how = f"code {code}" if code >= 0 else signal.Signals(-code).name
        self._note("Exited", self.object, f"process {self._process.pid} ended with {how}")
        return ready_s

    async def _probe_forever(self) -> None:
        while True:
            self._observe(ok=await self.recipe.probe())
            await asyncio.sleep(self._readiness.period_s)

    def _observe(self, *, ok: bool) -> None:
        """Take one probe's answer: one makes it ready, several misses in a row unready."""
        self._missed = 0 if ok else self._missed + 1
        if ok and not self.ready:
            self.phase, self.ready_unix = "ready", time.time()
            self._note("Ready", self.object, "its probe succeeds")
        elif self.ready and self._missed >= self._readiness.failures:
            self.phase, self.ready_unix = "starting", None
            self._note("Unready", self.object, f"{self._missed} probes in a row failed")

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until `release`."""
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return
