"""The engine core on the API server's own event loop: for tests, and to save a process."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable

from inference_platform.engine_sim.core import TIMER_SLACK_S, Core, Message, OnReports, Report
from inference_platform.engine_sim.logs import log_death


class LocalCore:
    """Drives a core with the event loop's timers.

    Args:
        core: what to drive.
    """

    def __init__(self, core: Core) -> None:
        """Start idle; the event loop is needed only from the first request on."""
        self._core = core
        self._on_reports: OnReports = lambda _: None
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._killed = False

    @property
    def pid(self) -> int:
        """This process."""
        return os.getpid()

    def connect(self, on_reports: OnReports, on_lost: Callable[[], None]) -> None:
        """Say who takes reports; this core cannot get lost."""
        del on_lost
        self._on_reports = on_reports

    def send(self, message: Message) -> None:
        """Tell the core; steps are left to the timer, so that what comes together starts so."""
        if self._killed:
            return
        self._core.handle(message)
        self._deliver(self._core.news())

    def drain(self) -> None:
        """Nothing to do: it ends with its process."""

    def kill(self) -> None:
        """Stand still for good."""
        self._killed = True
        self._cancel()

    def _deliver(self, report: Report | None) -> None:
        if report is not None:
            if report.died_of is not None:
                self.kill()
                log_death(report.died_of)
            self._on_reports([report])
        self._arm()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._due = None

    def _arm(self) -> None:
        """Set the timer to when the core wants to go on."""
        due = self._core.next_at
        if self._killed or due == self._due:
            return
        self._cancel()
        self._due = due
        if due is not None:
            self._timer = self._call_at(due)

    def _call_at(self, due: float) -> asyncio.TimerHandle:
        # Rounded up to the event loop's tick of a millisecond, so that no token is early.
        delay_ms = max(0, math.ceil((due - TIMER_SLACK_S - time.monotonic()) * 1000))
        return asyncio.get_running_loop().call_later(delay_ms / 1000, self._tick)

    def _tick(self) -> None:
        due, now = self._due, time.monotonic()
        if due is None or self._killed:
            return
        if now < due - TIMER_SLACK_S:
            self._timer = self._call_at(due)
            return
        self._timer = self._due = None
        self._deliver(self._core.advance(now))
