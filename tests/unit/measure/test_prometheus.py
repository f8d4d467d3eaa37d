"""Reading Prometheus when it is well, slow, wrong, empty or gone."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from faultload.errors import MissingError
from faultload.measure import CATALOGUE, PrometheusReader, coverage
from faultload.measure.catalogue import Absence, Component, Entry
from faultload.record import SERIES_SCHEMA, read_series, write_table

if TYPE_CHECKING:
    from pathlib import Path

RAW = Entry("up", "up{}", "1", Component.PROMETHEUS, Absence.GAP, raw=True, meaning="up")
RATIO = Entry("a:b:ratio", "a / b", "1", Component.ENGINE, Absence.NOTHING_YET, False, "ratio")


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class TestInstant:
    """One query, one moment."""

    def test_labels_time_and_value(self, script: Any) -> None:
        """Values come as numbers, infinities and NaN included."""
        script.vector("2.5", "NaN", "+Inf")

        samples = PrometheusReader(script.url).instant("up", time_unix_s=1.5)

        assert samples[0] == ({"i": "0"}, 1.5, 2.5)
        assert np.isnan(samples[1][2])
        assert samples[2][2] == float("inf")
        assert script.asked[0][1]["time"] == "1.500"

    def test_an_empty_vector_is_no_data(self, script: Any) -> None:
        """No series is an empty list, not a zero."""
        assert PrometheusReader(script.url).instant("nothing") == []

    @pytest.mark.parametrize(
        ("status", "body", "word"),
        [
            (400, {"status": "error", "error": "parse error"}, "parse error"),
            (401, b"who are you", "401"),
            (500, b"oops", "500"),
            (503, b"starting", "503"),
            (200, b"<html>login</html>", "something else"),
            (200, b"[]", "something else"),
            (200, {"status": "success"}, "something else"),
            (200, {"data": {"result": [{"metric": {}}]}}, "something else"),
            (200, {"data": {"result": [{"metric": {}, "value": [1, "x"]}]}}, "something else"),
            (200, {"data": {"result": [3]}}, "something else"),
        ],
    )
    def test_what_is_no_answer(self, script: Any, status: int, body: object, word: str) -> None:
        """Anything but a result is one clear line that names the address."""
        script.answer = lambda *_: (status, body)

        with pytest.raises(MissingError, match=word) as caught:
            PrometheusReader(script.url).instant("up")

        assert script.url in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_passing_503_is_tried_again(self, script: Any) -> None:
        """A Prometheus behind a balancer may miss once."""
        answers = [(503, b"")]
        good = {"status": "success", "data": {"result": []}}
        script.answer = lambda *_: answers.pop() if answers else (200, good)

        assert PrometheusReader(script.url).instant("up") == []
        assert len(script.asked) == 2

    def test_down(self) -> None:
        """Nobody listens: said at once."""
        with pytest.raises(MissingError, match="cannot be reached"):
            PrometheusReader(f"http://127.0.0.1:{free_port()}").instant("up")

    def test_slow(self, script: Any) -> None:
        """A wait has a bound, retries included."""
        script.delay_s = 0.3
        began = time.monotonic()

        with pytest.raises(MissingError, match="no answer in time|cannot be reached"):
            PrometheusReader(script.url, timeout_s=0.1, retries=1).instant("up")

        assert time.monotonic() - began < 5

    def test_warnings_are_kept(self, script: Any) -> None:
        """A result that was cut short says so, and we do not lose it."""
        body = {"status": "success", "warnings": ["partial response"], "data": {"result": []}}
        script.answer = lambda *_: (200, body)
        reader = PrometheusReader(script.url)

        reader.instant("up")

        assert reader.warnings == ["partial response"]


def test_credentials_are_used_and_never_shown(script: Any) -> None:
    """User and password go into a header, and stay out of messages."""
    script.answer = lambda *_: (500, b"no")
    address = script.url.replace("http://", "http://eva:hunter2@") + "?key=hunter2"
    reader = PrometheusReader(address, retries=0)

    with pytest.raises(MissingError) as caught:
        reader.instant("up")
    with pytest.raises(MissingError) as unreachable:
        PrometheusReader(f"http://eva:hunter2@127.0.0.1:{free_port()}", retries=0).instant("up")

    assert "hunter2" not in str(caught.value) + str(unreachable.value) + reader.url
    assert script.asked[0][2]["Authorization"].startswith("Basic ")


def test_headers_are_sent(script: Any) -> None:
    """A bearer token reaches the server."""
    PrometheusReader(script.url, headers={"Authorization": "Bearer x"}).instant("up")

    assert script.asked[0][2]["Authorization"] == "Bearer x"


class TestReady:
    """Ready means that a query is answered."""

    def test_yes(self, script: Any) -> None:
        """A value came."""
        script.vector("1")

        assert PrometheusReader(script.url).ready()

    def test_no(self, script: Any) -> None:
        """Starting, empty or gone."""
        assert not PrometheusReader(script.url).ready()
        script.answer = lambda *_: (503, b"starting")
        assert not PrometheusReader(script.url, retries=0).ready()
        assert not PrometheusReader(f"http://127.0.0.1:{free_port()}", retries=0).ready()


def test_a_range_keeps_fractions_of_seconds(script: Any) -> None:
    """Start and end go out as given, not rounded to whole seconds."""
    PrometheusReader(script.url).range("a", 10.25, 12.75, 0.5)

    path, params, _ = script.asked[0]
    assert path.endswith("query_range")
    assert (params["start"], params["end"], params["step"]) == ("10.250", "12.750", "0.5")


def test_a_long_range_is_asked_in_pieces(script: Any) -> None:
    """No piece has more points than Prometheus gives."""
    PrometheusReader(script.url).range("a", 0.0, 25_000.0, 1.0)

    spans = [(float(p["start"]), float(p["end"])) for _, p, _ in script.asked]
    assert spans == [(0, 10_000), (10_001, 20_001), (20_002, 25_000)]


class TestSnapshot:
    """Everything the catalogue names, as a table."""

    def test_it_is_a_series_table(self, script: Any, tmp_path: Path) -> None:
        """Times count from the start, labels are sorted JSON, NaN and what is early has no row."""
        metric = {"__name__": "up", "job": "engine", "instance": "a:1"}
        pairs = [[999.0, "1"], [1000.5, "1"], [1001.5, "NaN"], [1002.5, "0"]]
        result = [{"metric": metric, "values": pairs}]
        body = {"status": "success", "data": {"resultType": "matrix", "result": result}}
        script.answer = lambda *_: (200, body)

        frame = PrometheusReader(script.url).snapshot([RAW], 1000.0, 10.0)

        assert frame["t_s"].tolist() == [0.5, 2.5]
        assert frame["value"].tolist() == [1.0, 0.0]
        assert frame["labels"].unique().tolist() == ['{"instance":"a:1","job":"engine"}']
        assert script.asked[0][1]["query"] == "up{}[10001ms]"
        write_table(frame, SERIES_SCHEMA, tmp_path / "series.parquet")
        assert len(read_series(tmp_path / "series.parquet")) == 2

    def test_nothing_came(self, script: Any) -> None:
        """An empty Prometheus gives an empty table, which covers nothing."""
        frame = PrometheusReader(script.url).snapshot(CATALOGUE, 1000.0, 10.0)

        assert frame.empty
        assert set(coverage(frame, CATALOGUE, (0.0, 10.0), 1.0).values()) == {0.0}

    def test_one_bad_query_spoils_only_itself(self, script: Any) -> None:
        """A query that Prometheus refuses is missing and mentioned."""
        metric = {"metric": {}, "values": [[1001.0, "1"]]}
        good = {"status": "success", "data": {"result": [metric]}}
        script.answer = lambda path, _: (422, b"bad") if path.endswith("range") else (200, good)
        reader = PrometheusReader(script.url)

        frame = reader.snapshot([RATIO, RAW], 1000.0, 10.0)

        assert frame["series"].tolist() == ["up"]
        assert "a:b:ratio" in reader.warnings[0]

    def test_a_dead_prometheus_is_not_asked_for_everything(self) -> None:
        """It gives up early, and says so."""
        reader = PrometheusReader(f"http://127.0.0.1:{free_port()}", retries=0)

        with pytest.raises(MissingError, match="cannot be reached"):
            reader.snapshot(CATALOGUE, 1000.0, 10.0)

        assert f" and {len(CATALOGUE) - 1} more: " in reader.warnings[0]
        assert len(reader.warnings) == 1

    def test_three_failures_in_a_row_end_it(self, script: Any) -> None:
        """A Prometheus that refuses everything is asked three times, not once a series."""
        script.answer = lambda *_: (422, b"no")

        with pytest.raises(MissingError, match="refused"):
            PrometheusReader(script.url, retries=0).snapshot(CATALOGUE, 1000.0, 10.0)

        assert len(script.asked) == 3

    def test_raw_series_come_many_at_once(self, script: Any) -> None:
        """Each keeps its own name; matchers of a shared Prometheus reach the one query."""
        found = [{"metric": {"__name__": name}, "values": [[1001.0, "1"]]} for name in ("a", "b")]
        script.answer = lambda *_: (200, {"status": "success", "data": {"result": found}})
        entries = [replace(RAW, name=name, promql=f'{name}{{ns="x"}}') for name in ("a", "b")]

        frame = PrometheusReader(script.url).snapshot(entries, 1000.0, 10.0)

        assert [p["query"] for _, p, _ in script.asked] == ['{__name__=~"a|b",ns="x"}[10001ms]']
        assert frame["series"].tolist() == ["a", "b"]

    def test_what_is_refused_together_is_asked_for_one_by_one(self, script: Any) -> None:
        """Too many samples at once, or a name too many, costs no more than that name."""
        good = {"status": "success", "data": {"result": [{"metric": {}, "values": [[1001, "1"]]}]}}

        def answer(_: str, params: dict[str, str]) -> tuple[int, Any]:
            return (200, good) if params["query"].startswith("b") else (422, b"bad")

        script.answer = answer
        entries = [replace(RAW, name=name, promql=f"{name}{{}}") for name in ("a", "b")]
        reader = PrometheusReader(script.url)

        frame = reader.snapshot(entries, 1000.0, 10.0)

        assert frame["series"].tolist() == ["b"]
        assert [text.split(":")[0] for text in reader.warnings] == ["a"]


class TestCoverage:
    """The share of samples that came."""

    @pytest.mark.parametrize(
        ("times", "share"),
        [
            (np.arange(0.3, 100), 1.0),
            (np.arange(0.3, 100) + np.tile([0, 0.3], 50), 1.0),
            (np.arange(0.3, 50), 0.5),
            (np.arange(50.3, 100), 0.5),
            (np.delete(np.arange(0.3, 100), slice(20, 30)), 0.9),
            (np.arange(0.3, 100, 2), 0.5),
            (np.empty(0), 0.0),
            (np.arange(200.0, 300), 0.0),
        ],
    )
    def test_share(self, times: np.ndarray, share: float) -> None:
        """Jitter costs nothing; holes, late starts and early ends do."""
        frame = pd.DataFrame({"series": "up", "labels": "{}", "t_s": times, "value": 1.0})

        assert coverage(frame, [RAW], (0.0, 100.0), 1.0)["up"] == pytest.approx(share, abs=0.02)

    def test_a_declared_gap_is_not_expected(self) -> None:
        """What the experiment takes away is not missing."""
        times = np.delete(np.arange(0.3, 100), slice(20, 60))
        frame = pd.DataFrame({"series": "up", "labels": "{}", "t_s": times, "value": 1.0})

        undeclared = coverage(frame, [RAW], (0.0, 100.0), 1.0)
        declared = coverage(frame, [RAW], (0.0, 100.0), 1.0, {"up": (20.0, 60.0)})

        assert undeclared["up"] == pytest.approx(0.6, abs=0.02)
        assert declared["up"] == pytest.approx(1.0, abs=0.02)

    def test_series_of_events_are_not_expected(self) -> None:
        """A counter of retries that never counted is no hole."""
        assert coverage(pd.DataFrame(columns=SERIES_SCHEMA.names), [RATIO], (0, 9), 1.0) == {}

    def test_an_exporter_that_is_not_there_is_not_expected(self) -> None:
        """Without a GPU exporter nothing is missing; one that fell silent is."""
        gpu = replace(RAW, name="gpu", absence=Absence.NOT_EXPORTED)
        times = np.arange(0.3, 50)
        frame = pd.DataFrame({"series": "gpu", "labels": "{}", "t_s": times, "value": 1.0})

        assert coverage(frame.iloc[:0], [gpu], (0.0, 100.0), 1.0) == {}
        assert coverage(frame, [gpu], (0.0, 100.0), 1.0)["gpu"] == pytest.approx(0.5, abs=0.02)
