"""Request rows by second, for plots and progress."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from faultload.measure.quantiles import by_slot

Events = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]
"""When each event counts, and whether it was bad: as the judge sees one SLO."""


def per_second(
    requests: pd.DataFrame, end_s: float, events: Mapping[str, Events] | None = None
) -> pd.DataFrame:
    """Return one row a second from the start to `end_s`, by when requests were due.

    Columns: `requests`; for each SLO `bad:NAME`; for each tier `ttft_s_p50:TIER` and
    `ttft_s_p95:TIER` of the streams that began, NaN where none did.

    Args:
        requests: rows in the record's request schema.
        end_s: how far to go.
        events: by SLO.
    """
    seconds = max(0, math.ceil(end_s))
    index = pd.RangeIndex(seconds, name="second")

    def count(at_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        inside = at_s[(at_s >= 0) & (at_s < seconds)]
        return np.bincount(inside.astype(np.int64), minlength=seconds)

    # An empty frame has columns of no type.
    due = requests["due_s"].to_numpy(dtype=np.float64)
    columns: dict[str, object] = {"requests": count(due)}
    for name, (at_s, bad) in (events or {}).items():
        columns[f"bad:{name}"] = count(at_s[bad])
    frame = pd.DataFrame(columns, index=index)
    ttft = requests["first_token_s"].to_numpy(dtype=np.float64) - due
    second = np.where(np.isfinite(due), np.floor(due), -1).astype(np.int64)
    for tier in sorted(requests["tier"].dropna().unique()):
        own = (requests["tier"] == tier).to_numpy()
        found = by_slot(second[own], ttft[own], seconds, (0.5, 0.95))
        frame[f"ttft_s_p50:{tier}"], frame[f"ttft_s_p95:{tier}"] = found
    return frame
