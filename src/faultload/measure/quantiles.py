"""Quantiles by slice of time over many rows: each slice is sorted by itself, nothing is grouped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_Keys = TypeVar("_Keys", Floats, Ints)


def by_second_and_phase(
    at_s: Floats, value: Floats, edges_s: Floats, shares: Sequence[float]
) -> pd.DataFrame:
    """Return one row for each second of each phase, one column a share; NaN: it held no value.

    A second in which one phase ends and the next begins has a row in each. What lies outside the
    phases is left out.

    Args:
        at_s: when each row counts; quickest in order of time.
        value: of each row; NaN is no value.
        edges_s: of the phases, ascending: where the first begins, and where each ends.
        shares: 0.95 for the 95th percentile, between neighbours by linear interpolation.
    """
    whole = np.arange(np.ceil(edges_s[0]), np.ceil(edges_s[-1]))
    cuts = np.union1d(whole, edges_s)
    at_s, value = _in_order(at_s, value)
    found = _within(value, np.searchsorted(at_s, cuts), shares, is_higher=False)
    phase = np.searchsorted(edges_s, cuts[:-1], side="right") - 1
    index = pd.MultiIndex.from_arrays(
        [phase, np.floor(cuts[:-1]).astype(np.int64)], names=["phase", "second"]
    )
    return pd.DataFrame(found.T, index=index, columns=pd.Index(shares, name="share"))


def by_slot(
    slot: Ints, value: Floats, slots: int, shares: Sequence[float], *, is_higher: bool = False
) -> Floats:
    """Return one row a share, one column a slot; NaN: the slot held no value.

    Args:
        slot: of each row; quickest in order. One that is none of 0 to `slots` - 1 is left out.
        value: of each row; NaN is no value.
        slots: how many there are.
        shares: as in `by_second_and_phase`.
        is_higher: take the upper neighbour, a value that was seen, in place of interpolating.
    """
    slot, value = _in_order(slot, value)
    return _within(value, np.searchsorted(slot, np.arange(slots + 1)), shares, is_higher=is_higher)


def _in_order(keys: _Keys, value: Floats) -> tuple[_Keys, Floats]:
    known = ~np.isnan(value)
    if not known.all():
        keys, value = keys[known], value[known]
    if len(keys) > 1 and (keys[1:] < keys[:-1]).any():
        order = np.argsort(keys, kind="stable")
        keys, value = keys[order], value[order]
    return keys, value


def _within(value: Floats, bounds: Ints, shares: Sequence[float], *, is_higher: bool) -> Floats:
    found = np.full((len(shares), len(bounds) - 1), np.nan)
    wanted = np.array(shares)
    for column in np.flatnonzero(bounds[1:] > bounds[:-1]):
        inside = np.sort(value[bounds[column] : bounds[column + 1]])
        place = wanted * (len(inside) - 1)
        low = place.astype(np.int64)
        part = place - low
        upper = inside[np.minimum(low + 1, len(inside) - 1)]
        if is_higher:
            found[:, column] = np.where(part > 0, upper, inside[low])
        else:
            # Where nothing is between, infinity less infinity must not be asked for.
            step = np.zeros_like(part)
            np.subtract(upper, inside[low], out=step, where=part > 0)
            found[:, column] = inside[low] + step * part
    return found
