"""The permutation test for all shifts at once is the test that exchanges trials one by one."""

from itertools import combinations, product

import numpy as np
import pytest

from faultload.judge.arrangements import DRAWS, EXACT_MAX, ShiftTest, arrangement_count, difference
from faultload.judge.rows import Floats

STRATA = [
    (np.array([0.0, 0.3]), np.array([0.2, 0.9])),
    (np.array([5.0, 5.1, 5.2]), np.array([5.4])),
    (np.array([-1.0]), np.array([-0.8, -0.7])),
]


def one_by_one(strata: list[tuple[Floats, Floats]], shift: float) -> list[float]:
    """Return the difference in every arrangement, the shift taken off; the observed one first."""
    choices = []
    for old, new in strata:
        pooled = np.concatenate([old, new - shift])
        picks = list(combinations(range(len(pooled)), len(new)))[::-1]
        choices.append(
            [(np.delete(pooled, pick), pooled[list(pick)]) for pick in picks],
        )
    return [difference(arranged) for arranged in product(*choices)]


@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.1, 0.3, 0.35, 0.8])
def test_p_is_the_share_of_arrangements_that_are_as_extreme(shift: float) -> None:
    """Both one-sided p, at any shift, with strata of unequal sizes."""
    test = ShiftTest.of(STRATA, seed=0)
    observed, *_ = found = np.array(one_by_one(STRATA, shift))

    assert len(found) == arrangement_count(STRATA) == 6 * 4 * 3
    assert test.p_above(shift) == pytest.approx((found >= observed - 1e-9).mean())
    assert test.p_below(shift) == pytest.approx((found <= observed + 1e-9).mean())


@pytest.mark.parametrize("side", [0.02, 0.05, 0.2])
def test_bounds_are_where_the_test_begins_to_reject(side: float) -> None:
    """Just inside no test rejects, just outside one does."""
    test = ShiftTest.of(STRATA, seed=0)
    low, high = test.bounds(side)

    assert test.p_above(low + 1e-6) > side >= test.p_above(low - 1e-6)
    assert test.p_below(high - 1e-6) > side >= test.p_below(high + 1e-6)


def test_too_few_arrangements_bound_nothing() -> None:
    """Of two arrangements none is rare."""
    test = ShiftTest.of([(np.array([1.0]), np.array([2.0]))], seed=0)

    assert test.bounds(0.05) == (-np.inf, np.inf)


def test_drawn_arrangements_agree_with_all_of_them() -> None:
    """Of many arrangements a part is drawn: its p is that of all, but for the draw."""
    generator = np.random.default_rng(1)
    strata = [(generator.normal(0, 1, 3), generator.normal(0.6, 1, 3)) for _ in range(3)]
    more = [*strata, (np.zeros(9), np.zeros(9))]

    exact, drawn = ShiftTest.of(strata, seed=0), ShiftTest.of(more, seed=0)

    assert arrangement_count(strata) <= EXACT_MAX < arrangement_count(more)
    assert len(drawn.shifts) == DRAWS
    assert drawn.p_above(0.0) == pytest.approx(exact.p_above(0.0), abs=0.02)


def test_what_is_judged_again_is_the_same_on_another_processor() -> None:
    """Products differ in their last bits from one to another: twelve digits are kept."""
    generator = np.random.default_rng(5)
    sides = [generator.normal(-2, 0.05, 6) for _ in range(5)]

    test = ShiftTest.of([(side[:3], side[3:]) for side in sides], seed=0)

    assert (test.shifts == np.round(test.shifts, 12)).all()
