"""Game days: a plan of several experiments with an order, people and a go / no-go list."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from faultload.spec.reading import Spec, parse, read_document

COOLDOWN_S_MAX = 120.0
"""Longest wait for a target to be steady: three cold starts of the local platform."""


class GameDayStep(Spec):
    """One experiment of the plan."""

    experiment: str
    """As `faultload run` takes it: a path or `folder/name`."""
    cooldown_s: float = Field(default=0.0, ge=0)
    """Shortest pause before the next step, which waits until the target is steady anyway."""


class GameDay(Spec):
    """One plan file."""

    name: str
    target: str
    roles: dict[str, str] = Field(default_factory=dict)
    """Role → who holds it."""
    go_no_go: list[str] = Field(default_factory=list)
    """What people confirm before the first step."""
    steps: list[GameDayStep] = Field(min_length=1)
    stop_on: tuple[Literal["fail", "inconclusive", "invalid"], ...] = ("fail", "invalid")
    """Verdicts after which the remaining steps do not run."""


def load_gameday(path: Path) -> GameDay:
    """Read one plan.

    Raises:
        SpecError: the file, the key and the remedy.
    """
    return parse(GameDay, read_document(path), path)
