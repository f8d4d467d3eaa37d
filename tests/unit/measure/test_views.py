"""Client and server side by side: a number beside an interval, and exact shares at its edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scenes import rows, steady

from faultload.measure.histograms import observed
from faultload.measure.scrapes import Scrapes
from faultload.measure.views import errors, latencies
from faultload.record import SERIES_SCHEMA, Phase, PhaseName

PHASE = Phase(name=PhaseName.BASELINE, start_s=10.0, end_s=20.0)
NOBODY = Scrapes.of(pd.DataFrame(columns=SERIES_SCHEMA.names))
TTFT = "vllm:time_to_first_token_seconds_bucket"
NOTHING = pd.DataFrame(columns=SERIES_SCHEMA.names)


def counting(per_s: float, start: int = 0, end: int = 30) -> list[tuple[float, float]]:
    """Return a counter's samples, one a second."""
    return [(float(t), per_s * (t - start)) for t in range(start, end)]


def buckets(series: Any, **per_s: float) -> pd.DataFrame:
    """Return the engine's TTFT buckets by edge, `inf` for the last."""
    named = {edge.replace("_", ".").replace("inf", "+Inf"): rate for edge, rate in per_s.items()}
    return series(TTFT, {f'{{"le":"{e}"}}': counting(rate) for e, rate in named.items()})


def ttft(requests: pd.DataFrame, samples: pd.DataFrame) -> Any:
    """Return the TTFT of the one phase."""
    return latencies(requests, samples, [PHASE])[0]


def test_a_number_beside_an_interval(series: Any) -> None:
    """Clients saw 50 ms; the server knows the bucket, and both know the shares at its edges."""
    samples = buckets(series, **{"0_04": 9.0, "0_06": 9.9, "inf": 10.0})

    found = ttft(rows(steady(rate=10, end=30)), samples)

    p95 = found.quantiles[1]
    assert (p95.share, p95.client_s) == (0.95, pytest.approx(0.05))
    assert p95.server_s == (0.04, 0.06)
    assert p95.server_at == pytest.approx((0.9, 0.99))
    assert p95.client_at == (0.0, 1.0)
    assert (found.client, found.server, found.is_complete) == (100, pytest.approx(100.0), True)


def test_a_quantile_in_the_last_bucket_has_no_upper_edge(series: Any) -> None:
    """Beyond the last edge the server knows nothing, and no number is made up."""
    samples = buckets(series, **{"0_04": 1.0, "inf": 10.0})

    p50 = ttft(rows(steady(rate=10, end=30)), samples).quantiles[0]

    assert p50.server_s == (0.04, math.inf)
    assert p50.server_at == pytest.approx((0.1, 1.0))


def test_no_series_leave_the_server_unknown() -> None:
    """No data is no interval, and takes nothing from what clients saw."""
    found = ttft(rows(steady(rate=10, end=30)), NOTHING)

    assert found.server is None
    assert all(q.server_s is None and q.server_at is None for q in found.quantiles)
    assert all(q.client_s == pytest.approx(0.05) for q in found.quantiles)


def test_no_streams_leave_the_client_unknown(series: Any) -> None:
    """Where nobody was answered there is no latency: not zero, and not the server's."""
    due = steady(rate=10, end=30)

    found = ttft(rows(due, np.ones(len(due), dtype=bool)), buckets(series, inf=1.0))

    assert found.client == 0
    assert all(q.client_s is None and q.client_at is None for q in found.quantiles)


def test_a_replica_that_vanished_is_said(series: Any) -> None:
    """What it counted last was not seen: the shares hold for the rest."""
    samples = series(TTFT, {'{"le":"+Inf"}': counting(10.0, end=16)})

    assert not ttft(rows(steady(rate=10, end=30)), samples).is_complete


def test_time_per_output_token_and_whole_answers() -> None:
    """TPOT is decode time over tokens less one; both are of answers that came whole."""
    due = steady(rate=10, end=30)
    requests = rows(due, output_tokens=np.where(due < 15, 21, 1))

    tpot, itl, e2e = latencies(requests, NOTHING, [PHASE])[1:]

    assert (tpot.client, tpot.quantiles[0].client_s) == (50, pytest.approx(0.01))
    assert itl.client == 0
    assert (e2e.client, e2e.quantiles[2].client_s) == (100, pytest.approx(0.25))


def test_gaps_are_taken_one_by_one() -> None:
    """Where the rows hold every gap, their quantiles are those of gaps, not of requests."""
    requests = rows(np.array([12.0, 13.0, 14.0]))
    requests["gaps_s"] = [np.array([0.1, 0.2]), None, np.array([0.3])]

    itl = latencies(requests, NOTHING, [PHASE])[2]

    assert itl.client == 3
    assert [q.client_s for q in itl.quantiles] == pytest.approx([0.2, 0.3, 0.3])


def test_errors_of_both_sides(series: Any) -> None:
    """A request that never reached the router is an error that only the client saw."""
    due = steady(rate=10, end=30)
    counted = {'{"outcome":"ok"}': counting(9.0), '{"outcome":"cut"}': counting(1.0)}
    samples = series("inference_router_requests_total", counted)

    one = errors(rows(due, (due >= 10) & (due < 12)), samples, [PHASE])[0]

    assert one.client == pytest.approx(0.2)
    assert one.server == pytest.approx(0.1)
    assert one.is_complete


def test_errors_without_data_are_unknown() -> None:
    """Neither side makes a zero of nothing."""
    one = errors(rows(np.array([1.0])), NOTHING, [PHASE])[0]

    assert (one.client, one.server) == (None, None)


def test_one_observation_has_a_bucket(series: Any) -> None:
    """A histogram of one sample says as much as it can: which bucket."""
    late = [(float(t), float(t >= 15)) for t in range(30)]
    none = [(float(t), 0.0) for t in range(30)]
    samples = series(TTFT, {'{"le":"0.1"}': none, '{"le":"0.25"}': late, '{"le":"+Inf"}': late})

    histogram = observed(samples, 10.0, 20.0, NOBODY)

    assert histogram.total == 1
    assert {histogram.interval(share) for share in (0.01, 0.5, 1.0)} == {(0.1, 0.25)}


def test_an_edge_that_not_all_replicas_have_is_left_out(series: Any) -> None:
    """Two versions at once: under an edge that only one has, nobody knows the sum."""
    sets = {
        '{"le":"0.1","replica":"a"}': counting(1.0),
        '{"le":"+Inf","replica":"a"}': counting(2.0),
        '{"le":"0.2","replica":"b"}': counting(1.0),
        '{"le":"+Inf","replica":"b"}': counting(2.0),
    }

    histogram = observed(series(TTFT, sets), 10.0, 20.0, NOBODY)

    assert histogram.cumulative == {math.inf: 40.0}
    assert histogram.share_at(0.1) is None
