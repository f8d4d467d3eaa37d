"""What a fault would ask of a platform, said beforehand: for a dry run, and for who allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EVERY_RUN = "every run"
"""In place of a capability: what no run does without, whatever its faults need."""


@dataclass(frozen=True)
class Calls:
    """The calls that may be made for faults of one capability, a line each.

    Whatever `inject` and `revert` do not name is never changed.

    Attributes:
        inject: to do the harm.
        verify: to plan it, and to prove that it is there, and gone.
        revert: to take it back; empty: there is nothing to take back.
    """

    inject: Sequence[str] = ()
    verify: Sequence[str] = ()
    revert: Sequence[str] = ()


NO_CALLS = Calls()
"""Nothing is asked."""
