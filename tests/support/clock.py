"""Time that passes at once, for the waits of faults and for whole runs."""

from __future__ import annotations

from collections.abc import Callable

_WALL_S = 1_700_000_000.0


class Clock:
    """Stands in for the module `time`: it passes when somebody sleeps, and things happen in it.

    Attributes:
        now_s: of the monotonic clock.
        ahead_s: the wall clock's lead over it; changing it is a step.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.ahead_s = _WALL_S
        self._due: list[tuple[float, Callable[[], object]]] = []

    def at(self, time_s: float, act: Callable[[], object]) -> None:
        """Have something happen once that much time has passed."""
        self._due.append((time_s, act))

    def monotonic(self) -> float:
        """Return the time, s."""
        return self.now_s

    def time(self) -> float:
        """Return the wall clock's time, s."""
        return self.now_s + self.ahead_s

    def sleep(self, seconds: float) -> None:
        """Let time pass; do what is due by then."""
        self.now_s += seconds
        due = [one for one in self._due if one[0] <= self.now_s]
        self._due = [one for one in self._due if one[0] > self.now_s]
        for _, act in due:
            act()
