"""What can stop the local platform from starting.

PlatformError
├── ConfigError        64   the file or a `--set` says something we do not understand
├── MissingError       69   a program, an address or a part that does not become ready
└── BusyError          75   the state directory belongs to a running platform
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PlatformError(Exception):
    """Root of the tree; the text is the one line the user sees."""

    exit_code = 70


class ConfigError(PlatformError):
    """The user can mend this: a bad key or value."""

    exit_code = 64


class MissingError(PlatformError):
    """Something needed is not here."""

    exit_code = 69


class BusyError(PlatformError):
    """Another platform already runs with this state directory."""

    exit_code = 75


class OrderError(Exception):
    """An order to a running platform that it cannot carry out; the text is the answer's `error`.

    Args:
        status: of the HTTP answer: 400 senseless, 404 no such thing, 409 not now, 429 not allowed
            by a disruption budget.
    """

    def __init__(self, status: int, text: str) -> None:
        """Keep both."""
        super().__init__(text)
        self.status = status


class LeaseError(OrderError):
    """An order under a lease that is over, or that never was."""

    def __init__(self, text: str) -> None:
        """Keep the text; the status is that of an order that comes too late."""
        super().__init__(409, text)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a line about an unknown name: what was meant, else what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(names)}" if names else ""


def one_line(error: Exception) -> str:
    """Return an error's text without its line breaks."""
    return " ".join(str(error).split())
