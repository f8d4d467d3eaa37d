"""What `faultload run` is to run: names, folders, a game day, all; narrowed by -k and a sample."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from faultload.errors import UsageError, all_or_none
from faultload.spec import Catalogue, GameDay, load_gameday
from faultload.spec.documents import is_there
from faultload.spec.gameday import GameDayStep, check_gameday
from faultload.spec.selection import every_name, expand, matching, sample


class Order(StrEnum):
    """In which order several experiments run."""

    HARM = "harm"
    """Least harm first."""
    GIVEN = "given"
    """As named, by folder in path order."""


@dataclass(frozen=True)
class Selection:
    """What the command line asks for.

    Attributes:
        names: experiments, folders, or one game day file.
        everything: all experiments there are.
        expression: of -k; "": none.
        sample: take so many of them; None: all.
        seed: of the sample; "": drawn, and said.
        order: None: least harm first, but a game day has its own.
    """

    names: Sequence[str] = ()
    everything: bool = False
    expression: str = ""
    sample: int | None = None
    seed: str = ""
    order: Order | None = None

    @property
    def is_one(self) -> bool:
        """Tell whether one experiment was named, and nothing else said."""
        (name, *more) = self.names or ("", "")
        is_file = name.endswith((".yaml", ".yml")) or "/" in name
        chosen = self.everything or self.expression or self.sample is not None
        return bool(name) and is_file and not more and not chosen


@dataclass(frozen=True)
class Chosen:
    """What it comes to.

    Attributes:
        day: the plan.
        order: the order of its steps.
        is_series: several were asked for, even if one is left.
        note: how the sample was drawn, and how to draw it again; "": there is none.
    """

    day: GameDay
    order: Order
    is_series: bool
    note: str


def choose(catalogue: Catalogue, asked: Selection, target: str) -> Chosen:
    """Return what is to run.

    Raises:
        UsageError: nothing was named, or is left; a name is unknown; a game day beside others.
    """
    day = _gameday(catalogue, asked, target)
    left, note = [step.experiment for step in day.steps], ""
    if asked.expression:
        found = all_or_none([partial(catalogue.experiment, name) for name in left])
        held = {one.path for one in matching(found, asked.expression)}
        left = [name for name, one in zip(left, found, strict=True) if one.path in held]
    if asked.sample is not None:
        seed = asked.seed or secrets.token_hex(4)
        taken = sample(left, asked.sample, seed)
        again = shlex.join(["faultload", "run", *taken, "--target", day.target])
        note = f"a sample of {len(taken)} of {len(left)}, seed {seed}; the same again: {again}"
        left = taken
    steps = [step for step in day.steps if step.experiment in left]
    is_series = bool(day.name) or not asked.is_one or len(steps) > 1
    order = asked.order or (Order.GIVEN if day.name else Order.HARM)
    return Chosen(day.model_copy(update={"steps": steps}), order, is_series, note)


def _gameday(catalogue: Catalogue, asked: Selection, target: str) -> GameDay:
    """Return the plan a game day file holds, or one made of the experiments named."""
    if asked.everything and asked.names:
        raise UsageError(f"expected --all or names, found both: {' '.join(asked.names)}")
    if asked.seed and asked.sample is None:
        raise UsageError("--sample-seed: expected --sample beside it")
    places = [
        path if is_there(path := Path(name)) else catalogue.root / name for name in asked.names
    ]
    # Of somebody who stands in gamedays/ the folder is not in what was typed.
    days = [
        path
        for path in places
        if is_there(path) and path.is_file() and path.parent.resolve().name == "gamedays"
    ]
    if days and len(asked.names) > 1:
        raise UsageError("expected one game day file alone, or experiments; found both")
    if days:
        day = load_gameday(days[0])
        check_gameday(day, days[0], catalogue)
        return day
    if not asked.names and not (asked.everything or asked.expression):
        raise UsageError(
            "expected experiments, a folder of them, a game day file, -k EXPRESSION or --all;"
            " faultload run --all --list shows what there is"
        )
    names = expand(catalogue, asked.names) if asked.names else every_name(catalogue)
    if not names:
        raise UsageError(f"{catalogue.root / 'experiments'}: expected experiments, found none")
    steps = [GameDayStep(experiment=name) for name in names]
    return GameDay(name="", target=target, steps=steps, stop_on=())
