"""A signal ends a run once, and only where it can be ended in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from faultload.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""What a terminal, its end, or whoever runs us sends to have us end."""


class SignalGuard:
    """Notes the first signal, and raises it as `Interrupted` where somebody listens.

    Nobody listens while a run is put back, sealed or judged: that is short, bounded, and must not
    be cut. Whoever opens a `listening` block next is told at once.
    """

    def __init__(self) -> None:
        """Nothing is installed before `installed`."""
        self._listening = False
        self._told = False
        self.received: int | None = None
        """The first signal that came; None: none came."""

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals inside the block; outside the main thread Python allows none of it.

        A signal that is ignored already stays ignored: under `nohup` a hang-up means nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            signum: signal.signal(signum, self._handle)
            for signum in _SIGNALS
            if signal.getsignal(signum) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Raise `Interrupted` inside the block at the first signal, also one that came before it.

        Raises:
            Interrupted: once, whatever comes later.
        """
        self._listening = True
        try:
            self._tell()
            yield
        finally:
            self._listening = False

    def _handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.received is None:
            self.received = signum
        self._tell()

    def _tell(self) -> None:
        if self.received is not None and self._listening and not self._told:
            self._told = True
            raise Interrupted(self.received)
