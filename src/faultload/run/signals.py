"""SIGINT, SIGTERM and SIGHUP end a run once, and never in the middle of a revert."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from faultload.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalGuard:
    """Turns the first signal into `Interrupted`; shielded code is not disturbed by it."""

    def __init__(self) -> None:
        """Nothing is installed before `installed`."""
        self._shielded = False
        self.received: int | None = None
        """The first signal that came, if any."""

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals inside the block; outside the main thread Python allows none of it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.signal(signum, self._handle) for signum in _SIGNALS}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Let the block finish: a signal that comes meanwhile is only noted."""
        was, self._shielded = self._shielded, True
        try:
            yield
        finally:
            self._shielded = was

    def _handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        first = self.received is None
        if first:
            self.received = signum
        if first and not self._shielded:
            raise Interrupted(signum)
