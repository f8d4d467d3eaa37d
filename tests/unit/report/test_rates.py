"""Request rows into arrays over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from faultload.record import REQUEST_SCHEMA, Phase, PhaseName
from faultload.report import rates


def make_rows(*rows: dict[str, object]) -> pd.DataFrame:
    """Return request rows; what is not given is an `ok` request of tier fast."""
    plain = {"status": "ok", "tier": "fast", "output_tokens": 10}
    frame = pd.DataFrame([{**plain, **row} for row in rows])
    return frame.reindex(columns=REQUEST_SCHEMA.names)


def make_bins(end_s: float) -> rates.Bins:
    """Return slices of a run of that length."""
    phases = [Phase(name=PhaseName.BASELINE, start_s=0, end_s=end_s)]
    return rates.make_bins(make_rows(), phases)


@pytest.mark.parametrize(
    ("end_s", "width_s"), [(75, 1), (240, 1), (241, 2), (3600, 15), (10 * 86400, 3600)]
)
def test_slices_are_as_fine_as_a_plot_can_show(end_s: float, width_s: float) -> None:
    """Short runs are shown by the second, long ones in at most 240 slices."""
    bins = make_bins(end_s)

    assert bins.width_s == width_s
    assert len(bins) <= rates.BINS_MAX
    assert bins.edges[-1] >= end_s


def test_a_second_without_requests_has_no_quantile() -> None:
    """No request is NaN, not zero; a request without an answer is infinite."""
    rows = make_rows(
        {"due_s": 0.5, "first_token_s": 0.6},
        {"due_s": 2.5, "first_token_s": np.nan, "status": "connect_error"},
        {"due_s": 2.6, "first_token_s": 2.7, "status": "cut"},
    )

    p95 = rates.ttft_quantiles(rows, make_bins(3), "fast")[0.95]

    assert p95 == pytest.approx([0.1, np.nan, np.inf], nan_ok=True)


def test_an_open_stream_shows_its_first_token_and_unsent_rows_say_nothing() -> None:
    """`unfinished` keeps its first token, or its wait so far; `unsent` is the client's failure."""
    rows = make_rows(
        {"due_s": 0.5, "first_token_s": 0.7, "end_s": 3, "status": "unfinished"},
        {"due_s": 1.5, "status": "unsent"},
        {"due_s": 2.5, "end_s": 3, "status": "unfinished"},
    )

    p50 = rates.ttft_quantiles(rows, make_bins(3), "fast")[0.5]

    assert p50 == pytest.approx([0.2, np.nan, 0.5], nan_ok=True)


def test_a_median_between_answered_and_not_is_a_value_seen() -> None:
    """Quantiles pick a value that occurred: no mean of finite and infinite."""
    rows = make_rows(
        {"due_s": 0.1, "first_token_s": 0.2}, {"due_s": 0.2, "status": "timeout_first_token"}
    )

    assert rates.ttft_quantiles(rows, make_bins(1), "fast")[0.5][0] == np.inf


def test_failures_count_when_they_were_known() -> None:
    """A failed request is drawn at its end; one with no end at its due time."""
    rows = make_rows(
        {"due_s": 0.5, "end_s": 2.5, "status": "cut"}, {"due_s": 1.5, "status": "garbled"}
    )

    by_status = rates.failed_per_second(rows, make_bins(3))

    assert {s: list(v) for s, v in by_status.items()} == {"cut": [0, 0, 1], "garbled": [0, 1, 0]}


def test_open_and_unsent_requests_are_neither_failed_nor_ok() -> None:
    """What the end of the run cut off, or the client never sent, is counted by itself."""
    rows = make_rows(
        {"due_s": 0.1},
        {"due_s": 0.2, "status": "cut"},
        {"due_s": 0.3, "status": "unfinished"},
        {"due_s": 0.4, "status": "unsent"},
    )

    due = rates.due_per_second(rows, make_bins(1))

    assert {kind: list(values) for kind, values in due.items()} == {
        "failed": [1],
        "ok": [1],
        "other": [2],
    }
    assert len(rates.failed_rows(rows)) == 1


def test_tokens_are_conserved_and_spread() -> None:
    """A stream's tokens lie evenly over its life and sum to what was received."""
    rows = make_rows(
        {"due_s": 0, "first_token_s": 0.5, "last_token_s": 2.5, "output_tokens": 20},
        {"due_s": 2, "first_token_s": 2.2, "last_token_s": 2.2, "output_tokens": 1},
    )

    assert rates.tokens_per_second(rows, make_bins(3)) == pytest.approx([5, 10, 6])


def test_in_flight_is_the_mean_of_open_requests() -> None:
    """Two requests open for half a second each are one in flight over that second."""
    rows = make_rows({"sent_s": 0.0, "end_s": 0.5}, {"sent_s": 0.5, "end_s": 1.0}, {"due_s": 0.2})

    assert rates.in_flight(rows, make_bins(2)) == pytest.approx([1, 0])


def test_empty_stretches_are_found_at_both_ends() -> None:
    """Stretches with no request due are told apart from seconds with none failed."""
    rows = make_rows({"due_s": 1.5}, {"due_s": 3.5})

    assert rates.empty_slices(rows, make_bins(5)) == [(0, 1), (2, 3), (4, 5)]


def test_no_rows_at_all() -> None:
    """Of no rows every array is empty or NaN and nothing fails."""
    rows, bins = make_rows().iloc[:0], make_bins(2)

    assert np.isnan(rates.ttft_quantiles(rows, bins, "fast")[0.95]).all()
    assert rates.failed_per_second(rows, bins) == {}
    assert rates.empty_slices(rows, bins) == [(0, 2)]
