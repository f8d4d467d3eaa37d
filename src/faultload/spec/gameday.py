"""Game days: a plan of several experiments with an order, people and a go / no-go list."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from faultload.errors import SpecError, UsageError
from faultload.spec.catalogue import Catalogue
from faultload.spec.reading import Spec, parse, read_document

COOLDOWN_S_MAX = 120.0
"""Longest wait for a target to be steady: three cold starts of the local platform."""
RERUNS_MAX = 5
"""Most repetitions of a run that our own load client spoilt: then the machine is the matter."""


class GameDayStep(Spec):
    """One experiment of the plan."""

    experiment: str
    """As `faultload run` takes it: a path or `folder/name`."""
    cooldown_s: float = Field(default=0.0, ge=0, le=86400)
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
    stop_on: tuple[Literal["fail", "inconclusive", "invalid"], ...] = Field(
        default=("fail", "invalid"), strict=False
    )
    """Verdicts after which the remaining steps do not run."""


def load_gameday(path: Path) -> GameDay:
    """Read one plan.

    Raises:
        SpecError: the file, the key and the remedy.
    """
    day = parse(GameDay, read_document(path), path)
    if not day.name.strip():  # what has none is no game day
        raise SpecError(path, "name", "expected a text, found nothing")
    return day


def check_gameday(day: GameDay, path: Path, catalogue: Catalogue) -> None:
    """See that a plan's target and experiments are there.

    Raises:
        SpecError: one is not; names the step.
    """
    catalogue.target(day.target, path)
    for index, step in enumerate(day.steps):
        try:
            where = catalogue.experiment_path(step.experiment)
        except UsageError as error:
            raise SpecError(path, f"steps[{index}].experiment", str(error)) from None
        if not where.is_file():
            problem = f"no such file: {where}; correct the path"
            raise SpecError(path, f"steps[{index}].experiment", problem)
