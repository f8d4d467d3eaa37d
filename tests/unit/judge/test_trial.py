"""What one trial says: what was not answered is late, never dropped, and no number is made up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scenes import rows, slo

from faultload.judge.trial import GOODPUT, Sli, Unit, measure_trial, slis_of
from faultload.record import RequestStatus
from faultload.spec.scenario import Timeouts

TIMEOUTS = Timeouts(first_token_s=10.0, gap_s=5.0, total_s=30.0)
DUE = np.arange(400) / 10
WINDOW_S = (0.0, 40.0)


def numbers(slos: Any = (), window_s: tuple[float, float] = WINDOW_S, **changes: Any) -> Any:
    """Return the numbers of 400 requests, ten a second; `bad` and columns as in `rows`."""
    return measure_trial(rows(DUE, **changes), slos, TIMEOUTS, window_s).numbers


def test_good_trial_has_its_numbers() -> None:
    """First token after 50 ms, twenty more in 200 ms, no error, and all of it is good."""
    found = numbers()

    assert found["p95 TTFT"] == pytest.approx(0.05)
    assert found["p50 TPOT"] == pytest.approx(0.01)
    assert found["error rate"] == 0.0
    assert found["goodput"] == 1.0


def test_unanswered_requests_are_as_late_as_the_client_was_patient() -> None:
    """With one in ten refused at once, p95 is the timeout: dropped, they would look quick."""
    found = numbers(bad=np.arange(400) % 10 == 0)

    assert found["p95 TTFT"] == TIMEOUTS.first_token_s
    assert found["error rate"] == pytest.approx(0.1)
    assert found["goodput"] == pytest.approx(0.9)
    assert all(math.isfinite(value) for value in found.values())


def test_a_platform_that_answers_nobody_still_has_numbers() -> None:
    """Nothing served is the worst there is, not an absence of data."""
    found = numbers(bad=np.ones(400, dtype=bool))

    assert (found["error rate"], found["goodput"]) == (1.0, 0.0)
    assert found["p50 TPOT"] == TIMEOUTS.gap_s


def test_answers_cut_short_are_not_whole() -> None:
    """Two tokens instead of 21, as quick as ever and without an error, are a tenth of the tokens.

    More than was asked makes up for nothing, and of what broke only what came counts.
    """
    short = numbers(output_tokens=2)
    some = numbers(output_tokens=np.where(np.arange(400) % 2, 42, 0))

    assert short["tokens delivered"] == pytest.approx(2 / 21)
    assert (short["error rate"], short["goodput"]) == (0.0, 1.0)
    assert some["tokens delivered"] == pytest.approx(0.5)
    assert numbers(bad=np.ones(400, dtype=bool))["tokens delivered"] == 0.0


def test_a_request_is_as_late_as_its_user_waited() -> None:
    """Latencies count from when a request was due, not from when the client got to send it."""
    found = numbers(sent_s=DUE + 0.03)

    assert found["p95 TTFT"] == pytest.approx(0.05)


def test_too_few_requests_give_no_number() -> None:
    """A quantile of nineteen requests is none: NaN, which the gate takes for no comparison."""
    found = numbers(window_s=(0.0, 1.9))

    assert all(math.isnan(value) for value in found.values())


def test_warm_up_and_what_the_client_never_sent_do_not_count() -> None:
    """Only requests due in the window; an unsent one is the client's failure alone."""
    slow = np.where(DUE < 10, DUE + 5.0, DUE + 0.05)
    status = np.where(np.arange(400) == 399, RequestStatus.UNSENT.value, "ok").astype(object)

    measured = measure_trial(
        rows(DUE, first_token_s=slow, last_token_s=slow + 0.2, status=status),
        (),
        TIMEOUTS,
        (10.0, 40.0),
    )

    assert measured.numbers["p95 TTFT"] == pytest.approx(0.05)
    assert measured.requests == 299


def test_each_latency_slo_is_an_sli_of_its_own_tier() -> None:
    """Its quantile is the SLO's target, at most p95; availability and integrity have no latency."""
    slos = [
        slo("fast", "ttft_s <= 0.1", 0.99, "fast"),
        slo("pace", "tpot_s <= 0.05", 0.5),
        slo("whole", "intact", 0.995),
        slo("served", "served", 0.995),
    ]

    assert [sli.name for sli in slis_of(slos)][5:] == ["fast p95", "pace p50"]
    tier = np.where(np.arange(400) % 2, "fast", "slow").astype(object)
    first = np.where(tier == "fast", DUE + 0.05, DUE + 3.0)
    found = numbers(slos, tier=tier, first_token_s=first, last_token_s=first + 0.2)
    assert found["fast p95"] == pytest.approx(0.05)
    assert found["p95 TTFT"] == pytest.approx(3.0)


def test_goodput_counts_every_promise() -> None:
    """Served, but late for its tier or with a token missing, is no goodput."""
    tier = np.where(np.arange(400) % 2, "fast", "slow").astype(object)
    slos = [slo("fast", "ttft_s <= 0.04", 0.95, "fast"), slo("whole", "intact", 0.995)]
    missing = np.where(np.arange(400) < 100, 1, 0)

    found = numbers(slos, tier=tier, tokens_missing=missing)

    assert found["goodput"] == pytest.approx(150 / 400)


def test_of_goodput_less_is_worse() -> None:
    """The gate takes larger for worse, so what is missing to 1 is what it gets."""
    assert GOODPUT.worse_is_larger(0.75) == pytest.approx(0.25)
    assert Sli("x", Unit.SECONDS).worse_is_larger(0.75) == 0.75
    assert math.isnan(GOODPUT.worse_is_larger(math.nan))
