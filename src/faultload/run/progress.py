"""What a person sees while a run goes on: a live line on a terminal, one line a phase in CI."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from faultload.run.streams import Voice


@dataclass(frozen=True)
class LiveStats:
    """The last seconds of the load, as the client saw them.

    Attributes:
        requests_per_s: requests that ended, a second.
        ttft_s_p95: None: no token came in the window.
        bad: requests that ended badly since the run began.
        total: requests that ended since the run began.
    """

    requests_per_s: float
    ttft_s_p95: float | None
    bad: int
    total: int


class Progress(Protocol):
    """Where a run says how far it is."""

    def phase(self, name: str, length_s: float) -> None:
        """Say that a phase begins; `length_s` is how long it is planned to be."""
        ...

    def tick(self, left_s: float, stats: LiveStats | None) -> None:
        """Show the time left in the phase and the load's last seconds; called often."""
        ...

    def note(self, text: str) -> None:
        """Say something that stays."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Silent:
    """Says nothing."""

    def phase(self, name: str, length_s: float) -> None:
        """Say nothing."""

    def tick(self, left_s: float, stats: LiveStats | None) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """One line a phase, for logs."""

    def __init__(self, console: Console) -> None:
        """Write to `console`."""
        self._console = console
        self._stats: LiveStats | None = None
        self._phase = ""

    def phase(self, name: str, length_s: float) -> None:
        """End the last phase's line and remember the next."""
        self._finish()
        self._phase = f"{name:<9} {length_s:4.0f} s"

    def tick(self, left_s: float, stats: LiveStats | None) -> None:  # noqa: ARG002
        """Remember the last numbers for the line at the phase's end."""
        self._stats = stats or self._stats

    def note(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """End the last phase's line."""
        self._finish()

    def _finish(self) -> None:
        if self._phase:
            self.note(f"{self._phase}  {describe(self._stats)}")
        self._phase = ""


class Terminal:
    """A line that is redrawn: phase, time left, request rate, TTFT p95, errors."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._console = console
        # No refresh thread: children are forked from this process.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._phase, self._length_s = "", 0.0
        self._live.start()

    def phase(self, name: str, length_s: float) -> None:
        """Name the phase."""
        self._phase, self._length_s = name, length_s

    def tick(self, left_s: float, stats: LiveStats | None) -> None:
        """Redraw."""
        done = 1 - left_s / self._length_s if self._length_s else 1
        filled = max(0, min(20, round(done * 20)))
        bar = "━" * filled + "─" * (20 - filled)
        text = Text.assemble(
            (f"{self._phase:<9}", "bold"), f" {bar} {max(left_s, 0):4.0f} s left  ", describe(stats)
        )
        self._live.update(text, refresh=True)

    def note(self, text: str) -> None:
        """Print above the live line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the live line."""
        self._live.stop()


def describe(stats: LiveStats | None) -> str:
    """Return the numbers in words; what is not known is not shown as zero."""
    if stats is None or stats.total == 0:
        return "no requests yet"
    ttft = "none" if stats.ttft_s_p95 is None else f"{stats.ttft_s_p95 * 1000:.0f} ms"
    return f"{stats.requests_per_s:5.1f} req/s  TTFT p95 {ttft}  {stats.bad} bad of {stats.total}"


def make_progress(*, plain: bool) -> Progress:
    """Return a live line on a terminal, lines elsewhere or when `plain` is asked for."""
    console = Console(file=cast("TextIO", Voice(sys.stderr)))
    return Lines(console) if plain or not console.is_terminal else Terminal(console)
