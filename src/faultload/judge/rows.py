"""Request rows as arrays: the columns the judge reads, taken out of the frame once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from faultload.record import RequestStatus

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """One array a column, all of one length; times in seconds since the run's start.

    Attributes:
        due, sent, first, last, end: as in the record's request schema; NaN: it never happened.
        gap: largest silence between two tokens; NaN under two tokens.
        asked, received, missing, duplicated: tokens.
        tier: who was asked for.
        served: answered completely.
        unfinished: still running when the load was stopped.
        unsent: never sent, by the client's own failure.
    """

    due: Floats
    sent: Floats
    first: Floats
    last: Floats
    end: Floats
    gap: Floats
    asked: Floats
    received: Floats
    missing: Floats
    duplicated: Floats
    tier: npt.NDArray[np.object_]
    served: Flags
    unfinished: Flags
    unsent: Flags

    @cached_property
    def silence_s_max(self) -> float:
        """Longest silence after which a request was answered all the same; 0: there was none.

        Worked out once: every objective over these rows asks for it.
        """
        longest = 0.0
        for silence in (self.first - self.due, self.gap):
            answered = self.served & np.isfinite(silence)
            longest = float(np.max(silence, where=answered, initial=longest))
        return longest

    @classmethod
    def of(cls, requests: pd.DataFrame) -> Self:
        """Take the columns out of a frame in the record's request schema."""

        def values(name: str, dtype: type) -> npt.NDArray[Any]:
            column = requests[name]
            if dtype is object and isinstance(column.dtype, pd.CategoricalDtype):
                # pandas would make a text a row of the few there are; -1 is the last: missing.
                known = np.array([*column.cat.categories, None], dtype=object)
                return known[column.cat.codes.to_numpy()]
            return column.to_numpy(dtype=dtype)

        return cls._made(values)

    @classmethod
    def of_lines(cls, lines: Sequence[Mapping[str, Any]]) -> Self:
        """Take them out of rows as the load writes them; a few of them cost next to nothing."""
        return cls._made(
            lambda column, dtype: np.array([line[column] for line in lines], dtype=dtype)
        )

    @classmethod
    def _made(cls, column: Callable[[str, type], npt.NDArray[Any]]) -> Self:
        status = column("status", object)
        return cls(
            due=column("due_s", np.float64),
            sent=column("sent_s", np.float64),
            first=column("first_token_s", np.float64),
            last=column("last_token_s", np.float64),
            end=column("end_s", np.float64),
            gap=column("gap_s_max", np.float64),
            asked=column("output_tokens_asked", np.float64),
            received=column("output_tokens", np.float64),
            missing=column("tokens_missing", np.float64),
            duplicated=column("tokens_duplicated", np.float64),
            tier=column("tier", object),
            served=np.asarray(status == RequestStatus.OK.value, dtype=np.bool_),
            unfinished=np.asarray(status == RequestStatus.UNFINISHED.value, dtype=np.bool_),
            unsent=np.asarray(status == RequestStatus.UNSENT.value, dtype=np.bool_),
        )

    def at(self, places: npt.NDArray[np.int64]) -> Self:
        """Return some of the rows."""
        return type(self)(**{f.name: getattr(self, f.name)[places] for f in fields(self)})

    @property
    def began(self) -> Flags:
        """A first token came."""
        return np.isfinite(self.first)

    @property
    def broke(self) -> Flags:
        """The stream began and ended badly."""
        return self.began & ~self.served & ~self.unfinished & ~self.unsent
