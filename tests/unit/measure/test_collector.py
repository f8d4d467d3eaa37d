"""Collecting while the run goes on, with a Prometheus that falters, dies or forgets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from faultload.measure import Collector, PrometheusReader
from faultload.measure.catalogue import Absence, Component, Entry

T0 = 1_000_000.0
UP = Entry("up", "up{}", "1", Component.PROMETHEUS, Absence.GAP, raw=True, meaning="up")
MORE = Entry("more", "more{}", "1", Component.PROMETHEUS, Absence.GAP, raw=True, meaning="more")
RATIO = Entry("a:b:ratio", "a / b", "1", Component.ENGINE, Absence.NOTHING_YET, False, "ratio")


class Store:
    """A Prometheus that scrapes every second at a quarter past it.

    Attributes:
        now_s: up to when it has scraped.
        kept_from_s: what is older is lost.
        status: of its answers.
    """

    def __init__(self) -> None:
        """Begin well, and empty."""
        self.now_s, self.kept_from_s, self.status = 0.0, 0.0, 200
        self.refuses = "nothing"

    def answer(self, path: str, params: dict[str, str]) -> tuple[int, Any]:
        """Answer a raw query or a range."""
        query = params["query"]
        if self.status != 200 or self.refuses in query:
            return self.status if self.status != 200 else 422, b"no"
        if path.endswith("query_range"):
            start, end, step = (float(params[key]) for key in ("start", "end", "step"))
            times = [start + k * step for k in range(int((end - start) / step + 1e-6) + 1)]
            return 200, _matrix({"": times})
        end = float(params["time"])
        width_s = int(re.findall(r"\[(\d+)ms\]", query)[0]) / 1000
        scraped = [T0 + k + 0.25 for k in range(1000)]
        seen = [
            at
            for at in scraped
            if end - width_s < at <= end and self.kept_from_s <= at - T0 <= self.now_s
        ]
        return 200, _matrix({name: seen for name in ("up", "more") if name in query})


def _matrix(samples: dict[str, list[float]]) -> dict[str, Any]:
    result = [
        {"metric": {"__name__": name}, "values": [[at, str(at - T0)] for at in times]}
        for name, times in samples.items()
        if times
    ]
    return {"status": "success", "data": {"result": result}}


@pytest.fixture
def store(script: Any) -> Store:
    """Return a store that the script answers from."""
    found = Store()
    script.answer = found.answer
    return found


@pytest.fixture
def collector(script: Any, store: Store) -> Collector:
    """Return a collector of `up` and `more`, whose pieces are fetched by hand."""
    reader = PrometheusReader(script.url, retries=0)
    return Collector(reader, [UP, MORE], T0, lambda: store.now_s)


def fetch(collector: Collector, store: Store, *until_s: float) -> None:
    """Let time pass and fetch a piece at each of these moments."""
    for moment in until_s:
        store.now_s = moment
        collector.fetch(moment)


def times(collector: Collector, end_s: float, name: str = "up") -> list[float]:
    """End the run and return the times of a series' samples."""
    frame = collector.finish(end_s)
    return [float(t) for t in frame[frame["series"] == name]["t_s"]]


def seconds(start: int, end: int) -> list[float]:
    """Return the times of the scrapes of [start, end)."""
    return [k + 0.25 for k in range(start, end)]


def test_pieces_make_the_whole_once(collector: Collector, store: Store) -> None:
    """Overlapping pieces hold every sample exactly once, and nothing after the run's end."""
    fetch(collector, store, 10.0, 20.0, 34.0)

    assert times(collector, 30.0) == seconds(0, 30)
    assert collector.warnings == []


def test_what_came_outlives_prometheus(collector: Collector, store: Store) -> None:
    """A Prometheus that dies takes the samples since the last piece with it, and no others."""
    fetch(collector, store, 10.0, 20.0)
    store.status = 503

    assert times(collector, 40.0) == seconds(0, 20)
    assert collector.warnings[-1] == "up and 1 more: not read after 20 s"


def test_one_that_comes_back_empty_loses_only_what_was_not_fetched(
    collector: Collector, store: Store
) -> None:
    """A restart without a disk: the samples before it are those of the pieces."""
    fetch(collector, store, 10.0, 20.0)
    store.kept_from_s = 30.0
    fetch(collector, store, 34.0)

    assert times(collector, 40.0) == seconds(0, 20) + seconds(30, 34)


def test_one_that_comes_back_with_its_samples_leaves_no_hole(
    collector: Collector, store: Store
) -> None:
    """What could not be asked is asked for later, from where the last piece ended."""
    fetch(collector, store, 10.0)
    store.status = 503
    fetch(collector, store, 20.0, 30.0)
    store.status = 200
    fetch(collector, store, 40.0)

    assert times(collector, 40.0) == seconds(0, 40)
    assert "at 20 s" in collector.warnings[0]


def test_a_series_that_was_refused_is_asked_for_again(collector: Collector, store: Store) -> None:
    """One bad answer costs the others nothing, and itself only the wait."""
    store.refuses = "more"
    fetch(collector, store, 10.0)
    store.refuses = "nothing"
    fetch(collector, store, 20.0)

    assert times(collector, 20.0, "more") == seconds(0, 20)
    assert times(collector, 20.0) == seconds(0, 20)


def test_derived_values_fall_on_the_same_steps(script: Any, store: Store) -> None:
    """Pieces that begin between two steps move no value, and none comes twice."""
    collector = Collector(PrometheusReader(script.url), [RATIO], T0, lambda: 0.0)
    fetch(collector, store, 7.3, 15.8)

    assert times(collector, 20.0, RATIO.name) == [float(k) for k in range(21)]


def test_never_a_prometheus(script: Any) -> None:
    """Nothing came: an empty table and the reason, not an error and not a zero."""
    script.answer = lambda *_: (503, b"")
    collector = Collector(PrometheusReader(script.url, retries=0), [UP], T0, lambda: 0.0)

    assert collector.finish(30.0).empty
    assert "503" in collector.warnings[0]


def test_the_thread_fetches_by_itself_and_ends(script: Any, store: Store) -> None:
    """It needs nobody to ask, and `finish` ends it."""
    store.now_s = 5.0
    collector = Collector(PrometheusReader(script.url), [UP], T0, lambda: store.now_s)
    collector.every_s = 0.01
    collector.start()
    wait_for(lambda: len(script.asked) > 0)

    assert times(collector, 5.0) == seconds(0, 5)
    assert not collector.is_alive()


def wait_for(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until a condition holds, with a bound."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(0.005)
