"""Request rows as arrays: the columns the judge reads, taken out of the frame once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

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

    @classmethod
    def of(cls, requests: pd.DataFrame) -> Self:
        """Take the columns out of a frame in the record's request schema."""

        def floats(column: str) -> Floats:
            return requests[column].to_numpy(dtype=np.float64)

        status = requests["status"].to_numpy(dtype=object)
        return cls(
            due=floats("due_s"),
            sent=floats("sent_s"),
            first=floats("first_token_s"),
            last=floats("last_token_s"),
            end=floats("end_s"),
            gap=floats("gap_s_max"),
            asked=floats("output_tokens_asked"),
            received=floats("output_tokens"),
            missing=floats("tokens_missing"),
            duplicated=floats("tokens_duplicated"),
            tier=requests["tier"].to_numpy(dtype=object),
            served=np.asarray(status == RequestStatus.OK.value, dtype=np.bool_),
            unfinished=np.asarray(status == RequestStatus.UNFINISHED.value, dtype=np.bool_),
            unsent=np.asarray(status == RequestStatus.UNSENT.value, dtype=np.bool_),
        )

    @property
    def began(self) -> Flags:
        """A first token came."""
        return np.isfinite(self.first)

    @property
    def broke(self) -> Flags:
        """The stream began and ended badly."""
        return self.began & ~self.served & ~self.unfinished & ~self.unsent
