"""Broken samples, kind by kind: what cannot be counted is not known, never zero and never good."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scenes import slo

from faultload.measure import CATALOGUE, PrometheusReader, coverage
from faultload.measure.counters import counted_events, increases
from faultload.measure.histograms import observed, quantile_interval
from faultload.measure.scrapes import Scrapes
from faultload.record import SERIES_SCHEMA, Phase, PhaseName

PHASE = Phase(name=PhaseName.BASELINE, start_s=10.0, end_s=20.0)
NOBODY = Scrapes.of(pd.DataFrame(columns=SERIES_SCHEMA.names))
SLO = slo("server", promql=('done_total{outcome="ok"}', "done_total"))
OK = '{"outcome":"ok"}'
Pairs = list[tuple[float, float]]


def counting(per_s: float = 2.0, start: int = 0, end: int = 30, at: float = 0.0) -> Pairs:
    """Return a counter's samples, one a second."""
    return [(float(t), at + per_s * (t - start)) for t in range(start, end)]


UNKNOWN: dict[str, Pairs] = {
    "no sample": [],
    "one sample": [(15.0, 4.0)],
    "samples of another time": counting(start=40, end=60),
    "a replica that vanished": counting(end=16),
    "a counter that is infinite": [(t, math.inf if t > 12 else v) for t, v in counting()],
    "a counter that ends at a hole": counting(end=14) + counting(start=28, end=30, at=60.0),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_events_that_cannot_be_counted(kind: str, series: Any) -> None:
    """They are not known: the judge makes them inconclusive."""
    assert counted_events(series("done_total", {OK: UNKNOWN[kind]}), SLO, PHASE) is None


COUNTED: dict[str, tuple[Pairs, float]] = {
    "a reset": (counting(end=15) + counting(start=15), 18.0),
    "two resets": (counting(end=12) + counting(start=12, end=17) + counting(start=17), 16.0),
    "a reset to more than zero": (counting(end=15) + counting(start=15, at=3.0), 21.0),
    "out of order": (counting()[::-1], 20.0),
    "shuffled": ([counting()[k] for k in np.random.default_rng(1).permutation(30)], 20.0),
    "every sample twice": (counting() + counting(), 20.0),
    "a counter that stands still": (counting(0.0), 0.0),
}


@pytest.mark.parametrize("kind", COUNTED)
def test_events_that_can_be_counted_all_the_same(kind: str, series: Any) -> None:
    """Order and repetition change nothing, and a counter that began anew is followed."""
    samples, events = COUNTED[kind]

    assert counted_events(series("done_total", {OK: samples}), SLO, PHASE) == (events, events)


def test_a_stale_or_undefined_value_has_no_row(script: Any) -> None:
    """A staleness marker is NaN: it is no sample, and the share of samples that came falls."""
    values = [[1000.0 + k, "NaN" if k >= 5 else "1"] for k in range(10)]
    result = [{"metric": {"__name__": "up"}, "values": values}]
    script.answer = lambda *_: (200, {"status": "success", "data": {"result": result}})
    entries = [entry for entry in CATALOGUE if entry.name == "up"]

    frame = PrometheusReader(script.url).snapshot(entries, 1000.0, 9.0)

    assert frame["t_s"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert coverage(frame, entries, (0.0, 9.0), 1.0)["up"] < 0.6


@pytest.mark.parametrize("result", [[], [{"metric": {"__name__": "up"}, "values": []}]])
def test_an_empty_vector_is_no_data(result: list[Any], script: Any) -> None:
    """No series, or a series without a sample: a table without a row, which covers nothing."""
    script.answer = lambda *_: (200, {"status": "success", "data": {"result": result}})
    entries = [entry for entry in CATALOGUE if entry.name == "up"]

    frame = PrometheusReader(script.url).snapshot(entries, 1000.0, 9.0)

    assert frame.empty
    assert coverage(frame, entries, (0.0, 9.0), 1.0) == {"up": 0.0}


def test_a_clock_that_is_off_leaves_no_samples_in_the_run() -> None:
    """Samples that bear another hour's times do not count as samples of this run."""
    up = [entry for entry in CATALOGUE if entry.name == "up"]
    times = np.arange(3600.0, 3700.0)
    frame = pd.DataFrame({"series": "up", "labels": "{}", "t_s": times, "value": 1.0})

    assert coverage(frame, up, (0.0, 100.0), 1.0) == {"up": 0.0}


HISTOGRAMS: dict[str, tuple[dict[str, Pairs], tuple[float, float] | None]] = {
    "no bucket": ({}, None),
    "nothing observed": ({'{"le":"+Inf"}': counting(0.0)}, None),
    "no label le": ({"{}": counting()}, None),
    "an edge that is no number": ({'{"le":"NaN"}': counting()}, None),
    "one observation": (
        {'{"le":"+Inf"}': [(t, float(t > 14)) for t, _ in counting()]},
        (0, math.inf),
    ),
    "only the last bucket": ({'{"le":"+Inf"}': counting()}, (0.0, math.inf)),
    "a reset": (
        {'{"le":"0.1"}': counting(end=15) + counting(start=15), '{"le":"+Inf"}': counting(0.0)},
        (0.0, 0.1),
    ),
}


@pytest.mark.parametrize("kind", HISTOGRAMS)
def test_histograms(kind: str, series: Any) -> None:
    """A quantile is the bucket that is known to hold it, or not known."""
    samples, interval = HISTOGRAMS[kind]

    assert quantile_interval(series("x_bucket", samples), 0.5, 10.0, 20.0, NOBODY) == interval


def test_a_vanished_pod_leaves_a_histogram_incomplete(series: Any) -> None:
    """What it observed last is not in the sum, and the sum says so."""
    assert not observed(
        series("x_bucket", {'{"le":"+Inf"}': counting(end=15)}), 10, 20, NOBODY
    ).is_complete


def test_no_increase_of_nothing(series: Any) -> None:
    """A table without a row has no counter."""
    assert increases(series("x", {}), 0.0, 10.0, NOBODY) == {}
