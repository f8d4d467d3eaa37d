"""The tables of a record: one row a request, one row a Prometheus sample, one row an alert."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from faultload.errors import SpecError
from faultload.record.lines import Tail


class RequestStatus(StrEnum):
    """How one request ended, as the client saw it. Only `ok` is ever good."""

    OK = "ok"
    """Answered to its finish reason, with at least one token."""
    HTTP_ERROR = "http_error"
    """A status of 400 or more before any token."""
    CONNECT_ERROR = "connect_error"
    """Refused, reset before the answer began, or the name did not resolve."""
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST_TOKEN = "timeout_first_token"
    TIMEOUT_GAP = "timeout_gap"
    """The stream began and then fell silent for too long."""
    TIMEOUT_TOTAL = "timeout_total"
    CUT = "cut"
    """The stream began and ended without a finish reason."""
    ERROR_CHUNK = "error_chunk"
    """An error object inside a 200; `first_token_s` says whether the stream had begun."""
    NO_TOKEN = "no_token"
    """Ended in good order with no token at all."""
    GARBLED = "garbled"
    """An answer that is not what the protocol allows."""
    UNFINISHED = "unfinished"
    """Still open when the load was stopped: its latency is censored at `end_s`."""
    UNSENT = "unsent"
    """Due, and never sent: the client's own failure."""


REQUEST_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),  # row of the trace
        ("due_s", pa.float64()),  # when it was to be sent; every latency counts from here
        ("sent_s", pa.float64()),  # NaN: never sent
        ("first_token_s", pa.float64()),  # NaN: no token came
        ("last_token_s", pa.float64()),  # NaN: no token came
        ("end_s", pa.float64()),  # when the outcome was known
        ("status", pa.string()),  # RequestStatus
        ("http_status", pa.int32()),  # 0: no answer
        ("finish_reason", pa.string()),  # "" where none came
        ("tier", pa.string()),
        ("model", pa.string()),
        ("tenant", pa.string()),
        ("session", pa.string()),  # "" outside a session
        ("prompt_tokens", pa.int32()),  # asked
        ("output_tokens_asked", pa.int32()),
        ("output_tokens", pa.int32()),  # received
        ("tokens_duplicated", pa.int32()),  # index seen before; 0 where the engine gives no index
        ("tokens_missing", pa.int32()),  # gaps in the indices received
        ("gap_s_max", pa.float64()),  # largest silence between two tokens; NaN under two tokens
        ("served_by", pa.string()),  # "" where nobody said
        ("retries", pa.int32()),  # made by the platform, as it says
        ("migrations", pa.int32()),  # moves of a running stream, as the platform says
        ("connection_reused", pa.bool_()),
        ("worker", pa.int32()),
        ("error", pa.string()),  # "" where none; never holds a secret
    ]
)
"""`requests.parquet`. Times in seconds since the run's start, float64."""

SERIES_SCHEMA = pa.schema(
    [
        ("series", pa.string()),  # name in the measure catalogue
        ("labels", pa.string()),  # JSON, keys sorted
        ("t_s", pa.float64()),
        ("value", pa.float64()),
    ]
)
"""`series.parquet`: raw samples as Prometheus returned them. A missing sample has no row."""

ALERT_SCHEMA = pa.schema(
    [
        ("alert", pa.string()),
        ("severity", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),  # NaN: still firing at the end
    ]
)
"""`alerts.parquet`."""


def write_table(frame: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    """Write a frame as Parquet; its columns are put in the schema's order and types.

    Raises:
        KeyError: a column is missing: filled in, it would read as data that never came.
    """
    table = pa.Table.from_pandas(frame[schema.names], schema, preserve_index=False)
    pq.write_table(table, path, compression="zstd")


def read_requests(path: Path) -> pd.DataFrame:
    """Return `requests.parquet` ordered by `due_s`.

    Raises:
        SpecError: the file is missing, damaged, or lacks a column.
    """
    return _read(path, REQUEST_SCHEMA).sort_values("due_s", kind="stable", ignore_index=True)


def read_live_rows(folder: Path) -> pd.DataFrame:
    """Return the rows that a running load has written so far, in the request schema.

    Args:
        folder: holds one `rows-<worker>.jsonl` a worker. A line still being written is left out.
    """
    rows: list[dict[str, object]] = []
    for path in sorted(folder.glob("rows-*.jsonl")):
        rows += Tail(path).read()
    table = pa.Table.from_pylist(rows, schema=REQUEST_SCHEMA)
    # orjson writes NaN as null: Arrow's null and pandas' NaN are the same thing to a reader.
    frame: pd.DataFrame = table.to_pandas()
    return frame


def read_series(path: Path) -> pd.DataFrame:
    """Return `series.parquet` ordered by series, labels and time.

    Raises:
        SpecError: the file is missing, damaged, or lacks a column.
    """
    frame = _read(path, SERIES_SCHEMA)
    return frame.sort_values(["series", "labels", "t_s"], kind="stable", ignore_index=True)


def _read(path: Path, schema: pa.Schema) -> pd.DataFrame:
    try:
        missing = [name for name in schema.names if name not in pq.read_schema(path).names]
        if missing:
            raise SpecError(path, missing[0], "this column is missing")
        table = pq.read_table(path, columns=schema.names)
    except FileNotFoundError:
        raise SpecError(path, "", "no such file: the record is incomplete") from None
    except (pa.ArrowException, OSError) as error:
        raise SpecError(path, "", f"not a readable table: {str(error).splitlines()[0]}") from None
    frame: pd.DataFrame = table.to_pandas()
    return frame
