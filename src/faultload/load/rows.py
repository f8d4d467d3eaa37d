"""What the workers wrote: rows as they come, and the whole of them at the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faultload.load.trace import read_trace
from faultload.record import (
    ADDED_COLUMNS,
    REQUEST_SCHEMA,
    LoadSummary,
    RequestStatus,
    Tail,
    write_table,
)


def collect_rows(
    trace: Path,
    out: Path,
    requests: Path,
    end_s: float,
    *,
    workers_lost: int = 0,
) -> LoadSummary:
    """Write `requests.parquet` from the files of workers that have ended, however they ended.

    Args:
        trace: what they played.
        out: their folder.
        requests: the file to write.
        end_s: requests due from here on are left out.
        workers_lost: how many ended before they were told to.
    """
    rows, watched = (
        [line for path in sorted(out.glob(f"{kind}-*.jsonl")) for line in Tail(path).read()]
        for kind in ("rows", "watch")
    )
    merged = merge(read_trace(trace), rows, end_s)
    write_table(merged, REQUEST_SCHEMA, requests)
    workers = len(list(out.glob("plan-*.json")))
    return summarise(merged, watched, workers, workers_lost)


def merge(trace: pd.DataFrame, rows: Iterable[dict[str, Any]], end_s: float) -> pd.DataFrame:
    """Return one row for each request of the trace due before `end_s`, in `REQUEST_SCHEMA`.

    A request nobody recorded (its worker died) is `unsent`, with `worker` -1.
    """
    due = trace[trace["due_s"] < end_s].set_index("index")
    found = pd.DataFrame(rows, columns=REQUEST_SCHEMA.names)
    found = found[found["index"].isin(due.index)].drop_duplicates("index")
    lost = due[~due.index.isin(found["index"])].rename(
        columns={"output_tokens": "output_tokens_asked"}
    )
    unknown = (
        lost.drop(columns="prompt")
        .reset_index()
        .assign(
            sent_s=np.nan,
            first_token_s=np.nan,
            last_token_s=np.nan,
            end_s=end_s,
            status=RequestStatus.UNSENT.value,
            http_status=0,
            finish_reason="",
            output_tokens=0,
            tokens_duplicated=0,
            tokens_missing=0,
            gap_s_max=np.nan,
            served_by="",
            retries=0,
            migrations=0,
            connection_reused=False,
            worker=-1,
            error="no worker recorded it",
        )
    )
    parts = [_typed(part) for part in (found, unknown) if len(part)] or [_typed(found)]
    merged = pd.concat(parts, ignore_index=True)
    return merged.sort_values("index", ignore_index=True)


def summarise(
    merged: pd.DataFrame, watched: list[dict[str, Any]], workers: int, workers_lost: int
) -> LoadSummary:
    """Return what the workers say about themselves.

    Args:
        merged: as `merge` returns it.
        watched: the workers' self-watch lines.
        workers: how many were started.
        workers_lost: how many ended before they were told to.
    """
    lag_s = (merged["sent_s"] - merged["due_s"]).dropna()
    return LoadSummary(
        requests_due=len(merged),
        requests_sent=len(lag_s),
        rows=int((merged["worker"] >= 0).sum()),
        lag_s_p99=float(lag_s.quantile(0.99)) if len(lag_s) else None,
        cpu_share_max=max((line["cpu_share"] for line in watched), default=None),
        workers=workers,
        workers_lost=workers_lost,
        spread_s_max=max((line["stall_s_max"] for line in watched), default=None),
    )


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Give every column its type in the schema: a column of nothing but None has none."""
    objects = {field.name for field in REQUEST_SCHEMA if str(field.type) == "string"}
    kinds = {
        field.name: "object"
        if field.name in objects | ADDED_COLUMNS
        else field.type.to_pandas_dtype()
        for field in REQUEST_SCHEMA
    }
    return frame.reindex(columns=REQUEST_SCHEMA.names).astype(kinds)
