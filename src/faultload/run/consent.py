"""Somebody's word that a target may be harmed: typed for this run, never found somewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from faultload.errors import UsageError

_GAME_DAY = re.compile(r"[A-Za-z0-9][\w.:/#-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Consent:
    """What was said on the command line. No environment variable and no file can say it.

    Attributes:
        confirmed: the name of a target; "": none was said.
        game_day: id of the game day that this run is part of; "": none was said.
    """

    confirmed: str = ""
    game_day: str = ""

    @classmethod
    def of(cls, confirmed: str | None, game_day: str | None) -> Self:
        """Return what two options say; None: not given.

        Raises:
            UsageError: one is empty, or the id could not stand in a record.
        """
        if confirmed is not None and not confirmed.strip():
            raise UsageError("expected the target's name as confirmation, found an empty one")
        if game_day is not None and not _GAME_DAY.fullmatch(game_day):
            raise UsageError(
                "expected the id of a game day, such as GD-2026-11 (letters, digits and . : / # -),"
                f" found {game_day!r}"
            )
        return cls(confirmed or "", game_day or "")

    def as_json(self) -> dict[str, str]:
        """Return what was said, for the manifest."""
        said = {"confirmed": self.confirmed, "game_day": self.game_day}
        return {key: value for key, value in said.items() if value}


UNSAID = Consent()
"""Nobody said anything."""
