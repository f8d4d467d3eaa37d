"""Counters into events: resets, births, deaths and holes."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from scenes import slo

from faultload.measure.counters import Increase, counted_events, increases, select
from faultload.measure.histograms import quantile_interval
from faultload.measure.scrapes import Scrapes
from faultload.record import SERIES_SCHEMA, Phase, PhaseName
from faultload.spec.slo import SLO

NOBODY = Scrapes.of(pd.DataFrame(columns=SERIES_SCHEMA.names))
PHASE = Phase(name=PhaseName.BASELINE, start_s=10.0, end_s=20.0)


def every_second(
    start: int, end: int, per_s: float = 2.0, at: float = 0.0
) -> list[tuple[float, float]]:
    """Return a counter's samples, one a second."""
    return [(float(t), at + per_s * (t - start)) for t in range(start, end)]


@pytest.mark.parametrize(
    ("samples", "increase"),
    [
        (every_second(0, 30), Increase(20.0, 0, True)),
        (every_second(0, 30, per_s=0), Increase(0.0, 0, True)),
        # A new process at 15 s: what the old one had counted stays counted.
        (every_second(0, 15) + every_second(15, 30), Increase(8.0 + 10.0, 1, True)),
        # First seen at 14 s, and nobody knows since when it counts.
        (every_second(14, 30, at=3.0), Increase(12.0, 0, False)),
        # Lost samples at the start: what lies before the first one is nobody's.
        (every_second(0, 5) + every_second(14, 30, at=28.0), Increase(12.0, 0, False)),
        # Gone at 16 s: what came after its last sample is not known.
        (every_second(0, 16), Increase(10.0, 0, False)),
        # A hole in the middle loses nothing: the counter went on.
        (every_second(0, 12) + every_second(17, 30, at=34.0), Increase(20.0, 0, True)),
    ],
)
def test_one_counter(samples: list[tuple[float, float]], increase: Increase, series: Any) -> None:
    """Each life of a counter has its increase between 10 and 20 s."""
    assert increases(series("x", {"{}": samples}), 10.0, 20.0, NOBODY) == {"{}": increase}


@pytest.mark.parametrize("samples", [[], every_second(0, 5), every_second(25, 30)])
def test_no_samples_are_no_increase(samples: list[tuple[float, float]], series: Any) -> None:
    """Missing is missing, never zero."""
    assert increases(series("x", {"{}": samples}), 10.0, 20.0, NOBODY) == {}


A, B = (json.dumps({"instance": name, "job": "engine"}) for name in "ab")


def answers(start: int, end: int, value: float = 1.0) -> list[tuple[float, float]]:
    """Return samples of `up`, one a second."""
    return [(float(t), value) for t in range(start, end)]


class TestScrapes:
    """What `up` says of a counter that has no sample at the window's start."""

    @pytest.mark.parametrize(
        ("up", "samples", "increase"),
        [
            # Its target answered without it: its first event came later.
            ({A: answers(0, 30)}, every_second(14, 30, at=3.0), Increase(15.0, 0, True)),
            # A new replica: asked from 12 s on, answers from 14 s on.
            (
                {B: answers(0, 30), A: answers(12, 14, 0.0) + answers(14, 30)},
                every_second(14, 30, at=3.0),
                Increase(15.0, 0, True),
            ),
            # Down from the first look on: it may have counted for months.
            (
                {B: answers(0, 30), A: answers(0, 14, 0.0) + answers(14, 30)},
                every_second(14, 30, at=1e6),
                Increase(12.0, 0, False),
            ),
            # Prometheus itself began at 14 s.
            ({A: answers(14, 30)}, every_second(14, 30, at=1e6), Increase(12.0, 0, False)),
            # Prometheus lost samples at the start; the counter went on.
            (
                {A: answers(0, 5) + answers(14, 30)},
                every_second(0, 5, at=1e6) + every_second(14, 30, at=1e6 + 28),
                Increase(12.0, 0, False),
            ),
            # It lost them, and a new process began before or after the start.
            (
                {A: answers(0, 5) + answers(14, 30)},
                every_second(0, 5, at=1e6) + every_second(14, 30, at=3.0),
                Increase(12.0, 0, False),
            ),
            # Down at the start, and back as a new process.
            (
                {A: answers(0, 5) + answers(5, 14, 0.0) + answers(14, 30)},
                every_second(0, 5, at=50.0) + every_second(14, 30, at=3.0),
                Increase(15.0, 0, True),
            ),
            # A new process, whose first event of this kind is greater than all of the old one's.
            (
                {A: answers(0, 30)},
                every_second(0, 5, at=1.0) + every_second(14, 30, at=90.0),
                Increase(102.0, 0, True),
            ),
        ],
    )
    def test_where_a_counter_began(
        self, up: Any, samples: Any, increase: Increase, series: Any
    ) -> None:
        """It counts from zero where a new process is proven, and from its first sample else."""
        scrapes = Scrapes.of(series("up", up))
        of_a = json.dumps(json.loads(A) | {"outcome": "ok"})

        assert increases(series("x", {of_a: samples}), 10.0, 20.0, scrapes) == {of_a: increase}

    def test_lost_scrapes_hide_no_outage(self, series: Any) -> None:
        """A counter's whole life is no increase: with it, a total outage would be all good."""
        seen = [t for t in range(40) if not 8 <= t <= 12]
        frames = [
            series("up", {A: [(float(t), 1.0) for t in seen]}),
            series(
                "done_total",
                {
                    json.dumps(json.loads(A) | {"outcome": "ok"}): [
                        (float(t), 1e6 + min(t, 10)) for t in seen
                    ],
                    json.dumps(json.loads(A) | {"outcome": "no"}): [
                        (float(t), 5.0 + max(t - 10, 0)) for t in seen
                    ],
                },
            ),
        ]

        assert counted_events(pd.concat(frames), done(), PHASE) is None


def done(good: str = 'done_total{outcome="ok"}', total: str = "sum(done_total)") -> SLO:
    """Return an SLO over two queries."""
    return slo("server", promql=(good, total))


def labels(**pairs: str) -> str:
    """Return a label set as stored."""
    return json.dumps(pairs, sort_keys=True)


class TestCountedEvents:
    """Good and total events of an SLO over a phase."""

    def test_label_sets_are_added(self, series: Any) -> None:
        """Good ones are those the selector means, over every replica."""
        frame = series(
            "done_total",
            {
                labels(outcome="ok", replica="a"): every_second(0, 30, 3.0),
                labels(outcome="ok", replica="b"): every_second(0, 30, 2.0),
                labels(outcome="cut", replica="a"): every_second(0, 30, 1.0),
            },
        )

        assert counted_events(frame, done(), PHASE) == (50.0, 60.0)

    @pytest.mark.parametrize(
        "samples",
        [
            {},
            {labels(outcome="ok"): []},
            {labels(outcome="cut"): every_second(0, 30)},
            {labels(outcome="ok"): every_second(0, 16)},
            {labels(outcome="ok"): every_second(0, 30), labels(outcome="no"): every_second(0, 15)},
        ],
    )
    def test_missing_is_none(self, samples: dict[str, Any], series: Any) -> None:
        """No data, no good ones, or a replica that vanished: not known, never zero."""
        assert counted_events(series("done_total", samples), done(), PHASE) is None

    def test_an_expression_cannot_be_answered(self, series: Any) -> None:
        """Only selectors can be read from a record, and an SLO that has none is refused."""
        assert select(series("done_total", {}), "rate(done_total[5m])") is None
        with pytest.raises(ValidationError, match="expected a counter's selector"):
            done(good="rate(done_total[5m])")

    def test_an_slo_of_rows_is_not_counted(self, series: Any) -> None:
        """It has no queries."""
        assert counted_events(series("done_total", {}), slo(), PHASE) is None


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("m", 3),
        ("m{}", 3),
        ('m{tier="fast"}', 2),
        ('m{tier!="fast"}', 1),
        ('m{tier=~"fa.*",code="200",}', 1),
        ('m{code!~"2.."}', 1),
        ('m{absent=""}', 3),
        (' sum( m{tier="fast"} ) ', 2),
        ("other", 0),
    ],
)
def test_selectors_mean_what_promql_means(query: str, count: int, series: Any) -> None:
    """Matchers choose label sets as Prometheus does."""
    point = [(1.0, 1.0)]
    frame = series(
        "m",
        {
            labels(tier="fast", code="200"): point,
            labels(tier="fast", code="503"): point,
            labels(tier="slow", code="200"): point,
        },
    )

    assert len(select(frame, query)) == count


@pytest.mark.parametrize("query", ["rate(m[1m])", "m{", "m{a=b}", "m + n", "sum by (a) (m)", ""])
def test_what_is_no_selector(query: str, series: Any) -> None:
    """Anything else is said to be something else."""
    assert select(series("m", {}), query) is None


class TestQuantileInterval:
    """A histogram knows the bucket, not the value."""

    def test_the_bucket_that_holds_it(self, series: Any) -> None:
        """Ninety of a hundred are under 0.1 s, so the 95th percentile lies in the next bucket."""
        frame = series(
            "x_bucket",
            {
                labels(le="0.1"): every_second(0, 30, 9.0),
                labels(le="0.25"): every_second(0, 30, 9.8),
                labels(le="+Inf"): every_second(0, 30, 10.0),
            },
        )

        assert quantile_interval(frame, 0.5, 10.0, 20.0, NOBODY) == (0.0, 0.1)
        assert quantile_interval(frame, 0.95, 10.0, 20.0, NOBODY) == (0.1, 0.25)
        assert quantile_interval(frame, 0.99, 10.0, 20.0, NOBODY) == (0.25, math.inf)

    def test_nothing_observed(self, series: Any) -> None:
        """No observation has no quantile."""
        still = {labels(le="+Inf"): every_second(0, 30, 0.0)}

        assert quantile_interval(series("x_bucket", still), 0.5, 10.0, 20.0, NOBODY) is None
        assert quantile_interval(series("x_bucket", {}), 0.5, 10.0, 20.0, NOBODY) is None
