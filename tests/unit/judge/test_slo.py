"""Which requests count, and which of those are bad."""

import numpy as np
import pandas as pd
import pytest
from scenes import rows, slo, steady

from faultload.judge.interval import Slots, interval, jeffreys
from faultload.judge.slo import count_events, judge_phase
from faultload.record import Phase, PhaseName

NAN = float("nan")
DEFAULTS = {
    "due_s": 100.0,
    "sent_s": 100.0,
    "first_token_s": 100.05,
    "last_token_s": 100.25,
    "end_s": 100.25,
    "status": "ok",
    "output_tokens": 21,
    "gap_s_max": 0.02,
}
NO_TOKEN = {"first_token_s": NAN, "last_token_s": NAN, "output_tokens": 0, "gap_s_max": NAN}


def one(**columns: object) -> pd.DataFrame:
    """Return one row, good but for `columns`."""
    return rows(np.array([100.0]), **{**DEFAULTS, **columns})


GOOD, BAD, NOT_COUNTED = (1, 0), (1, 1), (0, 0)


@pytest.mark.parametrize(
    ("good", "columns", "counted"),
    [
        ("served", {}, GOOD),
        ("served", {"status": "cut"}, BAD),
        ("served", {"status": "http_error", **NO_TOKEN}, BAD),
        ("served", {"status": "unsent", "sent_s": NAN, **NO_TOKEN}, NOT_COUNTED),
        ("served", {"status": "unfinished", "end_s": 101.0}, NOT_COUNTED),
        ("served", {"status": "unfinished", "end_s": 120.0}, BAD),
        ("intact", {}, GOOD),
        ("intact", {"tokens_missing": 1}, BAD),
        ("intact", {"tokens_duplicated": 1}, BAD),
        ("intact", {"status": "cut"}, BAD),
        ("intact", {"status": "http_error", **NO_TOKEN}, NOT_COUNTED),
        ("ttft_s <= 0.1", {}, GOOD),
        ("ttft_s <= 0.04", {}, BAD),
        ("ttft_s <= 0.1", {"status": "cut"}, BAD),
        ("ttft_s <= 0.1", {"status": "http_error", **NO_TOKEN}, BAD),
        ("ttft_s <= 0.1", {"status": "unfinished", "end_s": 100.06, **NO_TOKEN}, NOT_COUNTED),
        ("ttft_s <= 0.1", {"status": "unfinished", "end_s": 100.2, **NO_TOKEN}, BAD),
        ("ttft_s <= 0.1", {"status": "unfinished", "end_s": 103.0}, NOT_COUNTED),
        ("e2e_s <= 0.3", {}, GOOD),
        ("e2e_s <= 0.2", {}, BAD),
        ("e2e_s <= 0.3", {"status": "unfinished", "end_s": 100.26}, NOT_COUNTED),
        ("e2e_s <= 0.3", {"status": "unfinished", "end_s": 100.5}, BAD),
        ("tpot_s <= 0.05", {}, GOOD),
        ("tpot_s <= 0.009", {}, BAD),
        ("tpot_s <= 0.05", {"output_tokens": 1, "last_token_s": 100.05}, NOT_COUNTED),
        ("tpot_s <= 0.05", {"status": "cut"}, BAD),
        ("tpot_s <= 0.05", {"status": "http_error", **NO_TOKEN}, BAD),
        ("tpot_s <= 0.05", {"status": "unfinished", "end_s": 100.5}, NOT_COUNTED),
        ("tpot_s <= 0.05", {"status": "unfinished", "end_s": 102.0}, BAD),
        ("gap_s_max <= 0.1", {}, GOOD),
        ("gap_s_max <= 0.01", {}, BAD),
        ("gap_s_max <= 0.1", {"gap_s_max": NAN, "output_tokens": 1}, NOT_COUNTED),
        ("gap_s_max <= 0.1", {"status": "unfinished", "end_s": 100.3}, NOT_COUNTED),
        ("gap_s_max <= 0.1", {"status": "unfinished", "end_s": 100.5}, BAD),
    ],
)
def test_one_request(good: str, columns: dict[str, object], counted: tuple[int, int]) -> None:
    """Served in time is good, failed is bad, and what could still end well does not count."""
    events = count_events(one(**columns), slo(good=good))

    assert (events.events, events.bad) == counted


def test_a_limit_is_met_at_the_limit() -> None:
    """`<=` means at or under."""
    events = count_events(one(due_s=0.0, first_token_s=0.5), slo(good="ttft_s <= 0.5"))

    assert (events.events, events.bad) == GOOD


def test_other_tiers_do_not_count() -> None:
    """An SLO of one tier sees no other."""
    assert count_events(one(), slo(tier="reasoning")).events == 0
    assert count_events(one(), slo(tier="fast")).events == 1


def test_an_slo_of_prometheus_has_no_events_in_rows() -> None:
    """Rows say nothing about counters."""
    assert count_events(one(), slo(promql=("good", "total"))).events == 0


def test_a_request_found_open_by_the_harm_counts_at_the_harm() -> None:
    """It could not have ended before the harm, so the baseline does not answer for it."""
    assert count_events(one(end_s=100.25), slo(), harm_s=100.1).at_s.tolist() == [100.1]
    assert count_events(one(end_s=100.25), slo(), harm_s=100.3).at_s.tolist() == [100.0]


def test_a_request_already_bad_by_age_stays_where_it_was_due() -> None:
    """A stall that began before the harm is not the fault's doing."""
    late = one(first_token_s=105.0, last_token_s=105.2, end_s=105.2)

    assert count_events(late, slo(good="ttft_s <= 0.5"), harm_s=103.0).at_s.tolist() == [100.0]


def test_quantiles_count_failures_as_infinite() -> None:
    """A quantile that falls among failures is not a number."""
    due = steady(rate=10, end=100)
    requests = rows(due, np.arange(len(due)) % 10 == 0)
    phase = Phase(name=PhaseName.FAULT, start_s=0, end_s=100)
    target = slo(good="ttft_s <= 0.1")

    result = judge_phase(target, count_events(requests, target), phase, 0.0)

    assert result.value_s_p50 == pytest.approx(0.05)
    assert (result.value_s_p95, result.verdict) == (None, None)


class TestInterval:
    """The interval is never narrower than chance alone would make it."""

    def test_no_events_have_none(self) -> None:
        """No data is not zero."""
        assert interval(Slots(0.0, np.zeros(5), np.zeros(5))) is None

    def test_no_bad_events_still_leave_doubt(self) -> None:
        """Zero of few says little: about three over the count."""
        low, high = interval(Slots(0.0, np.zeros(30), np.full(30, 10.0)))

        assert low == 0.0
        assert 0.004 < high < 0.01

    def test_bursts_widen_it(self) -> None:
        """The same count in one burst is worth less than spread evenly."""
        events = np.full(100, 10.0)
        burst = np.where(np.arange(100) < 10, 10.0, 0.0)

        even_low, _ = interval(Slots(0.0, np.ones(100), events))
        burst_low, burst_high = interval(Slots(0.0, burst, events))

        assert burst_low < even_low < 0.1 < burst_high

    def test_it_covers_the_truth_of_an_autocorrelated_run(self) -> None:
        """Seeded bursts: the lower bound exceeds the truth in about 5 % of runs, not in 30."""
        generator = np.random.default_rng(7)
        over = 0
        for _ in range(300):
            ratio = np.repeat(np.where(generator.random(60) < 0.1, 0.4, 0.01), 5)
            bad = generator.binomial(20, ratio).astype(float)
            over += interval(Slots(0.0, bad, np.full(300, 20.0)))[0] > 0.1 * 0.4 + 0.9 * 0.01

        assert over / 300 < 0.10

    def test_a_design_effect_widens_it(self) -> None:
        """Dependent requests are worth fewer."""
        assert jeffreys(50, 1000, 12)[0] < jeffreys(50, 1000)[0]
