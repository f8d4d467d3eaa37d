"""The sweeper: it goes on through what passes, and ends between two sweeps when it is told to."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from faultload.errors import FaultError, FaultloadError, MissingError, RefusedError
from faultload.run.sweeping import sweep

SOON_S = 0.01
BOUND_S = 20.0


def kill_self(name: str) -> None:
    """Send ourselves a signal."""
    os.kill(os.getpid(), signal.Signals[name])


class Cluster:
    """Does one thing a sweep, in order, and ends the sweeper after the last."""

    def __init__(self, *does: Callable[[], list[str]], ends_with: str = "SIGTERM") -> None:
        self.does, self.swept, self.ends_with = list(does), 0, ends_with

    def sweep(self) -> list[str]:
        self.swept += 1
        if self.swept == len(self.does):
            kill_self(self.ends_with)
        return self.does[self.swept - 1]()


def fails(error: FaultloadError) -> Callable[[], list[str]]:
    """Return a sweep that fails."""

    def sweep_once() -> list[str]:
        raise error

    return sweep_once


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_after_the_sweep_that_is_under_way(name: str) -> None:
    """No undo is cut in half, and the end is no error."""
    said: list[str] = []
    cluster = Cluster(list, lambda: ["undid one"], lambda: ["undid two"], ends_with=name)

    sweep(cluster.sweep, SOON_S, said.append)

    assert (cluster.swept, said) == (3, ["undid one", "undid two"])


def test_a_signal_ends_its_pause_at_once() -> None:
    """A pod that is told to go must not be killed at the end of its grace."""
    timer = threading.Timer(0.2, kill_self, ["SIGTERM"])
    timer.start()

    sweep(list, BOUND_S * 1000, lambda _: None)

    timer.join(BOUND_S)


def test_what_passes_does_not_end_it() -> None:
    """A cluster that does not answer, a change that cannot be undone now: told, and tried again."""
    said: list[str] = []
    away, stuck = fails(MissingError("no answer")), fails(FaultError("still in force: x"))

    sweep(Cluster(away, stuck, lambda: ["undid x"]).sweep, SOON_S, said.append)

    assert said == [
        "will be tried again in 0.01 s: no answer",
        "will be tried again in 0.01 s: still in force: x",
        "undid x",
    ]


def test_what_no_waiting_mends_ends_it() -> None:
    """Another cluster than the file names stays another one."""
    with pytest.raises(RefusedError, match="another cluster"):
        sweep(fails(RefusedError("another cluster")), SOON_S, lambda _: None)
