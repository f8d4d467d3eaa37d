"""The curve of batch sizes: its points, its knee, and the cheapest setting that holds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scenes import rows, slo, steady

from faultload.judge import Verdict
from faultload.judge.cost_model import Share
from faultload.judge.interval import jeffreys
from faultload.judge.setting import (
    Estimate,
    Held,
    Setting,
    Window,
    events_needed,
    measure_setting,
)
from faultload.judge.tune import choose, find_knee, judge_curve
from faultload.record import Phase, PhaseName
from faultload.spec.scenario import Timeouts

SIZES = (4, 8, 16, 32, 64, 128)
PHASE = Phase(name=PhaseName.BASELINE, start_s=10.0, end_s=40.0)


def near(value: float, share: float = 0.01) -> Estimate:
    """Return a number known to so much of itself."""
    return Estimate(value, value * (1 - share), value * (1 + share))


def held(verdict: Verdict = Verdict.PASS, **changes: Any) -> Held:
    """Return one SLO of 5 %."""
    found = Held("ttft", "95 % soon", 0.05, 1000, 10, (0.005, 0.02), verdict, 37)
    return replace(found, **changes)


def setting(batch: int, usd: float | None = 1.0, **changes: Any) -> Setting:
    """Return a setting that holds its SLO, with changes."""
    found = Setting(
        batch=batch,
        run=f"runs/{batch}",
        problems=(),
        window_s=(10.0, 40.0),
        requests=1000,
        good_share=0.99,
        good_per_s=33.0,
        tokens_per_s=near(100.0),
        good_tokens_per_s=near(99.0),
        normalized_s=near(0.01),
        ttft_s=(0.05, 0.06),
        tpot_s=(0.01, 0.012),
        slos=(held(),),
        usd_per_1m_tokens=None if usd is None else near(usd),
        usd_per_1m_good_tokens=None if usd is None else near(usd),
        cost_problem="" if usd is not None else "no price for it",
        engines={},
    )
    return replace(found, **changes)


def engine(batch: int, base_s: float, per_seq_s: float, share: float = 0.001) -> Setting:
    """Return an engine whose step takes `base_s + per_seq_s * batch`, full: one token a step."""
    step_s = base_s + per_seq_s * batch
    return setting(
        batch, tokens_per_s=near(batch / step_s, share), normalized_s=near(step_s, share)
    )


@pytest.mark.parametrize(
    ("base_s", "per_seq_s", "knee"),
    [(0.008, 0.001, 8), (0.008, 0.00025, 32), (0.02, 0.00125, 16), (0.064, 0.001, 64)],
)
def test_knee_of_a_linear_step_is_where_the_step_has_doubled(
    base_s: float, per_seq_s: float, knee: int
) -> None:
    """Throughput over latency, B / (a + bB)², is largest at B = a / b, whatever the scale."""
    found = find_knee([engine(batch, base_s, per_seq_s) for batch in SIZES])

    assert (found.batch, list(found.alike)) == (knee, [])


@pytest.mark.parametrize("largest", [16, 32, 64, 128])
def test_knee_does_not_move_with_the_largest_setting_that_was_tried(largest: int) -> None:
    """A criterion that looks at the curve's ends would find another knee in a longer sweep."""
    sizes = [size for size in SIZES if size <= largest]

    assert find_knee([engine(size, 0.008, 0.001) for size in sizes]).batch == 8


@pytest.mark.parametrize(
    ("per_seq_s", "text"), [(0.00001, "try larger ones"), (0.01, "try smaller ones")]
)
def test_knee_outside_the_sweep_is_not_known(per_seq_s: float, text: str) -> None:
    """The best of the settings at an end says on which side to look on, and no more."""
    found = find_knee([engine(batch, 0.008, per_seq_s) for batch in SIZES])

    assert found.batch is None
    assert text in found.text


def test_knee_names_what_cannot_be_told_from_it() -> None:
    """Between 8 and 16, with a step of 0.0113 a seat, lies less than the noise."""
    found = find_knee([engine(batch, 0.0113, 0.001, share=0.05) for batch in SIZES])

    assert found.batch in (8, 16)
    assert set(found.alike) == {8, 16} - {found.batch}
    assert "cannot be told from it" in found.text


@pytest.mark.parametrize(
    "changes",
    [{"problems": ("late",)}, {"tokens_per_s": None}, {"normalized_s": None}],
)
def test_two_settings_with_numbers_have_no_knee(changes: dict[str, Any]) -> None:
    """Rows that are not believed, and numbers that are not there, are no points."""
    settings = [engine(batch, 0.008, 0.001) for batch in (4, 8, 16)]

    assert find_knee(settings).batch == 8
    found = find_knee([*settings[:2], replace(settings[2], **changes)])
    assert (found.batch, found.text[:9]) == (None, "Not known")


def test_cheapest_of_those_that_hold_is_chosen() -> None:
    """A cheaper one that is proven to break an SLO is none."""
    broken = setting(64, 0.5, slos=(held(), held(Verdict.FAIL)))
    found = judge_curve([broken, setting(16, 1.0), setting(8, 2.0)])

    assert [one.batch for one in found.settings] == [8, 16, 64]
    assert (found.choice.verdict, found.choice.batch) == (Verdict.PASS, 16)
    assert (list(found.choice.alike), list(found.choice.open)) == ([], [])


def test_what_is_not_known_to_hold_never_wins_and_is_named() -> None:
    """Too few requests: the cheapest of all, and no winner."""
    few = held(Verdict.INCONCLUSIVE, events=20, bad=0, interval=(0.0, 0.09))
    found = choose([setting(16, 1.0), setting(32, 0.5, slos=(few,)), setting(64, 3.0, slos=(few,))])

    assert (found.batch, list(found.open)) == (16, [32])
    assert "ttft has 20 requests, and 37 without a bad one would prove it" in found.text


def test_prices_that_cannot_be_told_apart_are_said() -> None:
    """The cheaper point is named first, and the other beside it."""
    found = choose([setting(16, 1.0), setting(32, 1.01)])

    assert (found.batch, list(found.alike)) == (16, [32])


@pytest.mark.parametrize(
    ("settings", "verdict", "text"),
    [
        ([], Verdict.INCONCLUSIVE, "nothing was measured"),
        ([setting(8, slos=(held(Verdict.FAIL),))], Verdict.FAIL, "each is proven to break"),
        ([setting(8, slos=())], Verdict.INCONCLUSIVE, "no SLO speaks of"),
        ([setting(8, None)], Verdict.INCONCLUSIVE, "not known: no price for it"),
        ([setting(8, problems=("The client was late.",))], Verdict.INCONCLUSIVE, "was late)"),
        (
            [
                setting(8, slos=(held(Verdict.FAIL),)),
                setting(16, slos=(held(Verdict.INCONCLUSIVE, interval=(0.04, 0.06)),)),
            ],
            Verdict.INCONCLUSIVE,
            "between 4.00% and 6.00% of ttft are bad",
        ),
    ],
)
def test_nothing_is_chosen_without_proof(
    settings: list[Setting], verdict: Verdict, text: str
) -> None:
    """And the reason is said; only where every setting is proven bad is that a fail."""
    found = choose(settings)

    assert (found.verdict, found.batch) == (verdict, None)
    assert text in found.text


@pytest.mark.parametrize(("budget", "count"), [(0.05, 38), (0.005, 384), (0.001, 1920)])
def test_events_needed_is_the_fewest_that_prove_it(budget: float, count: int) -> None:
    """One fewer leaves the bound above the budget."""
    assert events_needed(budget) == pytest.approx(count, abs=2)
    assert jeffreys(0.0, events_needed(budget))[1] <= budget
    assert jeffreys(0.0, events_needed(budget) - 1)[1] > budget


def window(requests: Any, **changes: Any) -> Window:
    """Return what a run of 30 s says, at a dollar a window."""
    tokens = float(requests["output_tokens"][requests["due_s"].between(10.0, 39.9999)].sum())
    share = Share("baseline", 30.0, 1.0, 1.0, 0.0, 0.0, 0.0, round(tokens), round(tokens), None)
    good = 1.0 / (tokens / 1e3) if tokens else None
    found = Window(
        requests=requests,
        model="m",
        phase=PHASE,
        timeouts=Timeouts(),
        slos=[slo("ttft", "ttft_s <= 0.1"), slo("served", "served", 0.99)],
        share=replace(share, usd_per_1k_good_tokens=good),
        cost_problem="",
        engines={"running": 8.0},
        problems=(),
    )
    return replace(found, **changes)


def test_numbers_of_a_setting_come_from_the_rows_due_in_its_window() -> None:
    """Forty requests of 21 tokens a second, each over after 0.25 s; warm-up and others are out."""
    requests = rows(steady(end=60.0))
    others = rows(steady(end=60.0), model="other", first_token_s=np.nan, output_tokens=0)
    found = measure_setting(8, "run", window(requests))

    assert found.requests == 1200
    assert found.tokens_per_s is not None
    assert found.tokens_per_s.value == pytest.approx(840.0)
    assert found.normalized_s is not None
    assert found.normalized_s.value == pytest.approx(0.25 / 21)
    assert found.ttft_s == pytest.approx((0.05, 0.05))
    assert found.tpot_s == pytest.approx((0.01, 0.01))
    assert (found.good_share, found.good_per_s) == (1.0, 40.0)
    assert found.usd_per_1m_good_tokens is not None
    assert found.usd_per_1m_good_tokens.value == pytest.approx(1e6 / (840 * 30))
    assert found.verdict is Verdict.PASS
    both = pd.concat([requests, others]).sort_values("due_s", ignore_index=True)
    assert measure_setting(8, "run", window(both)).requests == 1200


def test_uneven_seconds_widen_the_interval() -> None:
    """Means and prices are known as well as a second is like the next."""
    draw = np.random.default_rng(1)
    uneven = np.sort(draw.uniform(0.0, 60.0, 2400))
    even, noisy = (measure_setting(8, "r", window(rows(due))) for due in (steady(end=60.0), uneven))

    assert even.tokens_per_s is not None
    assert noisy.tokens_per_s is not None
    assert even.tokens_per_s.high - even.tokens_per_s.low < 1.0
    assert 10.0 < noisy.tokens_per_s.high - noisy.tokens_per_s.low < 200.0
    price = noisy.usd_per_1m_tokens
    assert price is not None
    assert price.low < price.value < price.high


@pytest.mark.parametrize("count", [0, 1, 15])
def test_a_handful_of_requests_has_no_numbers_and_holds_nothing(count: int) -> None:
    """No data is neither zero nor a pass."""
    found = measure_setting(8, "run", window(rows(10.0 + np.arange(count) * 1.0)))

    assert (found.tokens_per_s, found.normalized_s, found.usd_per_1m_good_tokens) == (None,) * 3
    assert all(math.isnan(value) for value in (*found.ttft_s, *found.tpot_s))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.power is None


def test_a_setting_that_answers_nobody_is_broken_and_has_no_price_of_good_tokens() -> None:
    """Every request refused: the client's patience is its latency, and no power is made of it."""
    due = steady(end=60.0)
    found = measure_setting(8, "run", window(rows(due, np.ones(len(due), dtype=bool))))

    assert found.verdict is Verdict.FAIL
    assert found.good_share == 0.0
    assert found.usd_per_1m_tokens is None
    assert found.ttft_s == (Timeouts().first_token_s,) * 2
    assert choose([found]).verdict is Verdict.FAIL


def test_a_bill_that_is_not_known_is_not_free() -> None:
    """The curve stands without its prices, and nothing is chosen."""
    about = window(rows(steady(end=60.0)), share=None, cost_problem="no price for p5")
    found = measure_setting(8, "run", about)

    assert found.verdict is Verdict.PASS
    assert (found.usd_per_1m_tokens, found.usd_per_1m_good_tokens) == (None, None)
    assert "no price for p5" in choose([found]).text
