"""Tables: what is written is read back, NaN as NaN; a table that is not whole is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload.errors import SpecError
from faultload.record import (
    ADDED_COLUMNS,
    JUDGED_COLUMNS,
    REQUEST_SCHEMA,
    SERIES_SCHEMA,
    RequestStatus,
    read_requests,
    read_series,
    write_table,
)


def _row(index: int, due_s: float, **more: object) -> dict[str, object]:
    row: dict[str, object] = {
        "index": index,
        "due_s": due_s,
        "sent_s": due_s + 0.001,
        "first_token_s": np.nan,
        "last_token_s": np.nan,
        "end_s": due_s + 1.0,
        "status": str(RequestStatus.OK),
        "http_status": 200,
        "finish_reason": "length",
        "tier": "fast",
        "model": "small",
        "tenant": "default",
        "session": "",
        "prompt_tokens": 100,
        "output_tokens_asked": 60,
        "output_tokens": 60,
        "tokens_duplicated": 0,
        "tokens_missing": 0,
        "gap_s_max": np.nan,
        "served_by": "engine-1",
        "retries": 0,
        "migrations": 0,
        "connection_reused": True,
        "worker": 0,
        "error": "",
        "resent": False,
        "done": True,
        "usage_tokens": None,
        "tokens_reordered": None,
        "tokens_foreign": None,
        "gaps_s": [0.5, 0.25],
    }
    return {**row, **more}


def _frame(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=REQUEST_SCHEMA.names)


def test_requests_round_trip_in_order_of_due(tmp_path: Path) -> None:
    """Rows come back by due moment, with their types, and NaN stays NaN: no data is never zero."""
    path = tmp_path / "requests.parquet"
    rows = [_row(1, 2.0, status="unsent", sent_s=np.nan, http_status=0), _row(0, 1.0, error="ü")]
    write_table(_frame(*rows), REQUEST_SCHEMA, path)
    found = read_requests(path)
    assert list(found["index"]) == [0, 1]
    assert list(found["error"]) == ["ü", ""]
    assert np.isnan(found["sent_s"][1])
    assert np.isnan(found["first_token_s"]).all()
    expected = _frame(*reversed(rows)).astype(found.dtypes)
    pd.testing.assert_frame_equal(found, expected)


def test_columns_in_any_order_are_put_right(tmp_path: Path) -> None:
    """The file has the schema's columns, in its order and types, and nothing else."""
    path = tmp_path / "requests.parquet"
    frame = _frame(_row(0, 1.0))
    write_table(frame[frame.columns[::-1]].assign(extra=1), REQUEST_SCHEMA, path)
    assert pq.read_schema(path).remove_metadata() == REQUEST_SCHEMA


def test_no_requests_is_an_empty_table(tmp_path: Path) -> None:
    """A run in which nothing was due still has a table; the judge says what that means."""
    path = tmp_path / "requests.parquet"
    write_table(_frame(), REQUEST_SCHEMA, path)
    assert len(read_requests(path)) == 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["up", "ttft"]),
            st.floats(0, 1000),
            st.floats(allow_nan=True, allow_infinity=True),
        ),
        max_size=20,
    )
)
def test_series_round_trip(
    tmp_path_factory: pytest.TempPathFactory, samples: list[tuple[str, float, float]]
) -> None:
    """Samples come back exactly, infinities and NaN included, by series and time."""
    path = tmp_path_factory.mktemp("series") / "series.parquet"
    columns = SERIES_SCHEMA.names
    frame = pd.DataFrame([(s, "{}", t, v) for s, t, v in samples], columns=columns)
    write_table(frame, SERIES_SCHEMA, path)
    found = read_series(path)
    assert list(found.columns) == columns
    expected = sorted(((s, t) for s, t, _ in samples))
    assert list(zip(found["series"], found["t_s"], strict=True)) == expected
    values = np.array([v for _, _, v in samples], dtype=float)
    assert np.array_equal(np.sort(found["value"]), np.sort(values), equal_nan=True)


@pytest.mark.parametrize("column", ["due_s", "status", "error"])
def test_missing_column_is_named(tmp_path: Path, column: str) -> None:
    """A table without a column is damaged: it must not be judged on the rest."""
    path = tmp_path / "requests.parquet"
    table = pa.Table.from_pandas(_frame(_row(0, 1.0)), REQUEST_SCHEMA, preserve_index=False)
    pq.write_table(table.drop_columns([column]), path)
    with pytest.raises(SpecError, match=f"{column}: this column is missing"):
        read_requests(path)


def test_frame_without_a_column_is_not_written(tmp_path: Path) -> None:
    """A column left out by mistake is an error: filled with nulls it would read as "no data"."""
    with pytest.raises(KeyError, match="due_s"):
        write_table(_frame(_row(0, 1.0)).drop(columns="due_s"), REQUEST_SCHEMA, tmp_path / "a")


def test_missing_and_damaged_tables(tmp_path: Path) -> None:
    """A record that lacks a table, or holds a broken one, says so in one line."""
    path = tmp_path / "requests.parquet"
    with pytest.raises(SpecError, match="the record is incomplete"):
        read_requests(path)
    for content in (b"", b"not parquet", b"PAR1" + b"\0" * 100 + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(SpecError, match="not a readable table") as caught:
            read_requests(path)
        assert "\n" not in str(caught.value)


def test_older_records_lack_the_added_columns_and_stay_readable(tmp_path: Path) -> None:
    """What was not observed then is null, never zero."""
    path = tmp_path / "requests.parquet"
    table = pa.Table.from_pandas(_frame(_row(0, 1.0)), REQUEST_SCHEMA, preserve_index=False)
    pq.write_table(table.drop_columns(sorted(ADDED_COLUMNS)), path)
    found = read_requests(path)
    assert list(found.columns) == REQUEST_SCHEMA.names
    assert found[sorted(ADDED_COLUMNS)].isna().all(axis=None)


def test_rows_nobody_saw_have_no_gaps(tmp_path: Path) -> None:
    """A column of lists in which every value is missing is written as nulls."""
    path = tmp_path / "requests.parquet"
    write_table(_frame(_row(0, 1.0, gaps_s=np.nan)), REQUEST_SCHEMA, path)
    assert read_requests(path)["gaps_s"].isna().all()


def test_a_table_cut_anywhere_is_no_table(tmp_path: Path) -> None:
    """A half-written file is refused in one line: a part must not be judged as the whole."""
    whole, cut = tmp_path / "requests.parquet", tmp_path / "cut.parquet"
    write_table(_frame(*(_row(k, float(k)) for k in range(50))), REQUEST_SCHEMA, whole)
    data = whole.read_bytes()
    for length in (1, 4, len(data) // 4, len(data) // 2, len(data) - 8, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(SpecError, match="not a readable table") as caught:
            read_requests(cut)
        assert "\n" not in str(caught.value)


def test_a_table_spoilt_inside_is_no_table(tmp_path: Path) -> None:
    """Compressed bytes that do not unpack are refused, not read as other numbers."""
    path = tmp_path / "requests.parquet"
    write_table(_frame(*(_row(k, k * 1.25) for k in range(500))), REQUEST_SCHEMA, path)
    data = bytearray(path.read_bytes())
    frame = data.index(b"\x28\xb5\x2f\xfd")  # where zstd's first block begins
    data[frame + 6 : frame + 40] = b"\xff" * 34
    path.write_bytes(bytes(data))
    with pytest.raises(SpecError, match="not a readable table"):
        read_requests(path)


def test_columns_of_few_texts_are_categories(tmp_path: Path) -> None:
    """A million rows hold each text once; those not wanted are not read."""
    path = tmp_path / "requests.parquet"
    write_table(_frame(_row(0, 1.0), _row(1, 2.0)), REQUEST_SCHEMA, path)
    assert isinstance(read_requests(path)["status"].dtype, pd.CategoricalDtype)
    assert list(read_requests(path, ["due_s", "tier"]).columns) == ["due_s", "tier"]
    assert "gaps_s" not in JUDGED_COLUMNS
