"""The tables of a record: one row a request, one row a Prometheus sample, one row an alert."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from faultload.errors import SpecError
from faultload.record.lines import Tail


class RequestStatus(StrEnum):
    """How one request ended, as the client saw it. Only `ok` is ever good."""

    OK = "ok"
    """Answered to its finish reason, with at least one token, and nothing wrong was seen."""
    HTTP_ERROR = "http_error"
    """A status other than 2xx before any token; `http_status` says which."""
    CONNECT_REFUSED = "connect_refused"
    """Nobody listens there."""
    CONNECT_RESET = "connect_reset"
    """Reset or closed before the first byte of the answer; `error` says which."""
    CONNECT_ERROR = "connect_error"
    """No connection for another reason: the name did not resolve, or there is no route."""
    CERTIFICATE_ERROR = "certificate_error"
    """The endpoint's certificate is not to be trusted; nothing was sent."""
    TLS_ERROR = "tls_error"
    """The TLS handshake failed for another reason."""
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST_TOKEN = "timeout_first_token"
    TIMEOUT_GAP = "timeout_gap"
    """The stream began and then fell silent for too long."""
    TIMEOUT_TOTAL = "timeout_total"
    CUT = "cut"
    """The answer began and ended without a finish reason."""
    CUT_AT_END = "cut_at_end"
    """The finish reason came, and the connection broke before `[DONE]`: clients raise on it."""
    ABORTED = "aborted"
    """The engine gave up and said so: finish reason `abort`."""
    ERROR_CHUNK = "error_chunk"
    """An error object inside a 200; `first_token_s` says whether the stream had begun."""
    NO_TOKEN = "no_token"
    """Ended in good order with no token at all."""
    WRONG_CONTENT_TYPE = "wrong_content_type"
    """A 2xx that is neither an event stream nor an error object."""
    GARBLED = "garbled"
    """Bytes that HTTP, UTF-8, JSON or the API do not allow; `error` says which."""
    WRONG_TOKENS = "wrong_tokens"
    """A whole answer whose text proves tokens missing, doubled, out of order or of another one."""
    USAGE_MISMATCH = "usage_mismatch"
    """A whole answer whose text proves that the server counted other tokens than it sent."""
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
        ("resent", pa.bool_()),  # a kept connection was dead, so it was sent on a new one
        ("done", pa.bool_()),  # `[DONE]` came
        ("usage_tokens", pa.int32()),  # completion tokens as the server counts them; null: unsaid
        ("tokens_reordered", pa.int32()),  # null where the text carries no index
        ("tokens_foreign", pa.int32()),  # of another answer; null where the text carries no index
        ("gaps_s", pa.list_(pa.float32())),  # silence before each token but the first, in order
    ]
)
"""`requests.parquet`. Times in seconds since the run's start, float64.

The arrival of token i is `first_token_s` plus the sum of the first i `gaps_s`. A token is what
came as one: where the text carries no index, several tokens in one chunk are one arrival.
"""

ADDED_COLUMNS = frozenset(REQUEST_SCHEMA.names[REQUEST_SCHEMA.names.index("resent") :])
"""What older records lack; null there and in rows that no worker wrote."""

JUDGED_COLUMNS = tuple(n for n in REQUEST_SCHEMA.names if n not in ("session", "gaps_s"))
"""What judging and reporting read: all but sessions, of which few are alike, and the gaps between
tokens, which are a hundred times as much as the rest."""

SERIES_SCHEMA = pa.schema(
    [
        ("series", pa.string()),  # name in the measure catalogue
        ("labels", pa.string()),  # JSON, keys sorted
        ("t_s", pa.float64()),
        ("value", pa.float64()),
    ]
)
"""`series.parquet`: raw samples as Prometheus returned them. A missing sample has no row."""


class AlertState(StrEnum):
    """What the replay of one alert rule on a run's series came to."""

    FIRED = "fired"
    QUIET = "quiet"
    """Replayed, and it did not fire."""
    NOT_REPLAYED = "not_replayed"
    """Nobody can say; `why` says why."""


ALERT_SCHEMA = pa.schema(
    [
        ("alert", pa.string()),  # "" where none of them could be replayed
        ("severity", pa.string()),  # page or ticket
        ("start_s", pa.float64()),  # NaN: did not fire
        ("end_s", pa.float64()),  # NaN: still firing at the end, or did not fire
        ("slo", pa.string()),
        ("state", pa.string()),  # AlertState
        ("outage_to_fire_s", pa.float64()),  # how long the outage must last; NaN: never fires
        ("total_outage_to_fire_s", pa.float64()),  # the same of a total one; infinite: never
        ("why", pa.string()),  # it was not replayed; "" where it was
    ]
)
"""`alerts.parquet`: the alert rules replayed on `series.parquet`, a row each."""


_GROUP_ROWS = 131_072  # a reader holds a group of a column at least
_FEW_TEXTS = ("status", "finish_reason", "tier", "model", "tenant", "served_by", "error")


def write_table(frame: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    """Write a frame as Parquet; its columns are put in the schema's order and types.

    Raises:
        KeyError: a column is missing: filled in, it would read as data that never came.
    """
    lists = [field.name for field in schema if pa.types.is_list(field.type)]
    frame = frame[schema.names].astype(dict.fromkeys(lists, "object"))  # nothing but NaN: floats
    table = pa.Table.from_pandas(frame, schema, preserve_index=False)
    pq.write_table(table, path, compression="zstd", row_group_size=_GROUP_ROWS)


def read_requests(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return `requests.parquet` ordered by `due_s`.

    Columns of few different texts (`status`, `tier`, `served_by` …) are categories: a million rows
    would hold a million copies of them.

    Args:
        path: the file.
        columns: of the schema, those wanted; None: all. What the others hold is not looked at.

    Raises:
        SpecError: the file is missing, damaged, or lacks a column.
    """
    frame = _read(path, REQUEST_SCHEMA, columns, _FEW_TEXTS)
    if frame["due_s"].is_monotonic_increasing:
        return frame
    return frame.sort_values("due_s", kind="stable", ignore_index=True)


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


def read_alerts(path: Path) -> pd.DataFrame | None:
    """Return `alerts.parquet`; None: the record has none, so nobody replayed any rule.

    Raises:
        SpecError: the file is damaged, or lacks a column.
    """
    return _read(path, ALERT_SCHEMA) if path.exists() else None


def _read(
    path: Path,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    categories: Collection[str] = (),
) -> pd.DataFrame:
    try:
        found = pq.read_schema(path).names
        missing = [name for name in schema.names if name not in {*found, *ADDED_COLUMNS}]
        if missing:
            raise SpecError(path, missing[0], "this column is missing")
        with pq.ParquetFile(path, read_dictionary=list(categories)) as file:
            rows, read = file.metadata.num_rows, dict[str, Any]()
            for name in columns or schema.names:
                # One column at a time: a table at once takes thrice the memory for a moment.
                kind = schema.field(name).type
                lacking = pa.chunked_array([pa.nulls(rows, kind)])
                column = (
                    file.read([name], use_threads=False).column(0) if name in found else lacking
                )
                read[name] = column.to_pandas()
                del column
                pa.default_memory_pool().release_unused()  # or the next one takes as much again
    except FileNotFoundError:
        raise SpecError(path, "", "no such file: the record is incomplete") from None
    except (pa.ArrowException, OSError) as error:
        raise SpecError(path, "", f"not a readable table: {str(error).splitlines()[0]}") from None
    return pd.DataFrame(read, copy=False)
