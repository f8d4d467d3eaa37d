"""Quantiles by slice of time are those of pandas, and no value is no number."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from faultload.measure.quantiles import by_second_and_phase, by_slot

SHARES = (0.5, 0.95, 0.99)
EDGES = np.array([0.0, 3.0, 7.5, 20.0])


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Return rows in no order, some of which have no value."""
    generator = np.random.default_rng(5)
    value = generator.lognormal(size=4000)
    value[::9] = np.nan
    return generator.uniform(-1, 21, 4000), value


def test_seconds_and_phases_are_those_of_pandas(rows: tuple[np.ndarray, np.ndarray]) -> None:
    """The second in which a phase ends belongs to both phases, each with its own rows."""
    at_s, value = rows

    found = by_second_and_phase(at_s, value, EDGES, SHARES)

    frame = pd.DataFrame({"at_s": at_s, "value": value}).query("0 <= at_s < 20")
    phase = np.searchsorted(EDGES, frame["at_s"], "right") - 1
    expected = frame.groupby([phase, np.floor(frame["at_s"])])["value"].quantile(list(SHARES))
    np.testing.assert_allclose(found.to_numpy().ravel(), expected.to_numpy(), rtol=1e-13)
    assert (1, 7) in found.index
    assert (2, 7) in found.index


def test_a_second_without_a_value_is_nan() -> None:
    """No data is never zero."""
    found = by_second_and_phase(np.array([0.5, 2.5]), np.array([1.0, np.nan]), EDGES, SHARES)

    assert found.loc[(0, 0)].tolist() == [1.0, 1.0, 1.0]
    assert found.drop(index=(0, 0)).isna().all(axis=None)


@pytest.mark.parametrize("is_higher", [False, True])
def test_slots_are_those_of_pandas(rows: tuple[np.ndarray, np.ndarray], is_higher: bool) -> None:
    """Interpolated, or the upper neighbour; slots outside are left out, empty ones are NaN."""
    at_s, value = rows
    slot = np.floor(at_s).astype(np.int64)

    found = by_slot(slot, value, 25, SHARES, is_higher=is_higher)

    grouped = pd.Series(value).groupby(slot)
    for share, row in zip(SHARES, found, strict=True):
        how = "higher" if is_higher else "linear"
        expected = grouped.quantile(share, interpolation=how).reindex(range(25))
        np.testing.assert_allclose(row, expected, rtol=1e-13)
    assert np.isnan(found[:, 21:]).all()


def test_infinity_is_a_value() -> None:
    """What failed counts as infinite: the quantile is a number that was seen, or infinity."""
    slot, value = np.zeros(4, dtype=np.int64), np.array([1.0, 2.0, np.inf, np.inf])

    assert by_slot(slot, value, 1, (0.2, 0.5, 0.9), is_higher=True)[:, 0].tolist() == [
        2.0,
        np.inf,
        np.inf,
    ]
    assert by_slot(slot, value, 1, (0.0, 1.0))[:, 0].tolist() == [1.0, np.inf]


def test_no_rows_at_all() -> None:
    """An empty run has slices and no numbers."""
    nothing = np.empty(0)

    assert np.isnan(by_slot(np.empty(0, dtype=np.int64), nothing, 3, SHARES)).all()
    assert by_second_and_phase(nothing, nothing, EDGES, SHARES).isna().all(axis=None)
