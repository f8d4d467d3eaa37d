"""Time that passes at once, for the waits of faults."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """Time for the waits of faults: it passes when they sleep, and things happen in it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, Callable[[], object]]] = []

    def at(self, time_s: float, act: Callable[[], object]) -> None:
        """Have something happen once that much time has passed."""
        self._due.append((time_s, act))

    def monotonic(self) -> float:
        """Return the time, s."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass; do what is due by then."""
        self.now_s += seconds
        due = [one for one in self._due if one[0] <= self.now_s]
        self._due = [one for one in self._due if one[0] > self.now_s]
        for _, act in due:
            act()
