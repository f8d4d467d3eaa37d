"""Undoing what outlived its time on a cluster, again and again: harm ends without who did it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from faultload.errors import FaultError, Interrupted, MissingError
from faultload.run.signals import SignalGuard


def sweep(
    once: Callable[[], Sequence[str]],
    every_s: float,
    tell: Callable[[str], None],
    signals: SignalGuard | None = None,
) -> None:
    """Sweep until a signal comes; one that is under way is finished first, and is bounded.

    A cluster that does not answer, or a change that cannot be undone now, is told, and tried again
    next time: whoever sweeps must outlive both.

    Args:
        once: sweeps once; says what was undone, a line each.
        every_s: between the end of a sweep and the next one.
        tell: takes every line.
        signals: whose signals end it.

    Raises:
        FaultloadError: what no waiting mends: a bad file, another cluster, a namespace not ours.
    """
    signals = signals or SignalGuard()
    with signals.installed():
        while signals.received is None:
            try:
                for line in once():
                    tell(line)
            except (FaultError, MissingError) as error:
                tell(f"will be tried again in {every_s:g} s: {error}")
            try:
                with signals.listening():
                    time.sleep(every_s)
            except Interrupted:
                return
