"""What the workers wrote: rows as they come, and the whole of them at the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pandas as pd

from faultload.load.plan import EndNote, WorkerPlan
from faultload.load.trace import read_trace
from faultload.record import (
    ADDED_COLUMNS,
    REQUEST_SCHEMA,
    LoadSummary,
    RequestStatus,
    Tail,
    WorkerHealth,
    write_table,
)

_WHOLE_S = 0.5  # of a watch line that counts as a second


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
    plans = [
        WorkerPlan.model_validate_json(path.read_bytes()).model_copy(update={"out": out})
        for path in sorted(out.glob("plan-*.json"))
    ]
    rows = {plan.worker: Tail(plan.rows_path).read() for plan in plans}
    closed = any(plan.closed is not None for plan in plans)
    merged = merge(read_trace(trace), [r for own in rows.values() for r in own], end_s)
    write_table(merged, REQUEST_SCHEMA, requests)
    health = [
        health_of(
            plan.worker,
            merged[merged["worker"] == plan.worker],
            Tail(plan.watch_path).read(),
            clock_error_s=_clock_error_s(plan),
            rows_lost=rows_lost(plan),
        )
        for plan in plans
    ]
    return summarise(merged, health, workers_lost, loop="closed" if closed else "open")


def rows_lost(plan: WorkerPlan) -> int | None:
    """Return how many rows a worker wrote that are not in its file here; checked by hash too.

    None: the worker never said how many there are.
    """
    if not plan.end_path.exists():
        return None
    said = EndNote.model_validate_json(plan.end_path.read_bytes())
    here = EndNote.of(plan.rows_path)
    lost = max(0, said.rows - here.rows)
    return lost if lost or said.sha256 == here.sha256 else said.rows


def merge(trace: pd.DataFrame, rows: Iterable[dict[str, Any]], end_s: float) -> pd.DataFrame:
    """Return one row for each request due before `end_s`, in `REQUEST_SCHEMA`.

    A request nobody recorded (its worker died) is `unsent`, with `worker` -1.
    """
    due = trace[trace["due_s"] < end_s].set_index("index")
    found = pd.DataFrame(rows, columns=REQUEST_SCHEMA.names).drop_duplicates("index")
    # By time and not by index: what a closed loop asked came due when it was asked.
    found = found[found["due_s"].astype("float64") < end_s]
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


def health_of(
    worker: int,
    own: pd.DataFrame,
    watched: list[dict[str, Any]],
    *,
    clock_error_s: float | None = 0.0,
    rows_lost: int | None = 0,
) -> WorkerHealth:
    """Return what one worker saw of itself.

    Args:
        worker: its number.
        own: its rows, as `merge` returns them.
        watched: its lines, as `SelfWatch` writes them.
        clock_error_s: how far its clock may be off.
        rows_lost: rows of it that are not here.
    """
    lag_s = (own["sent_s"] - own["due_s"]).dropna()
    watch = pd.DataFrame(watched)
    seen = len(watch) > 0
    length_s = float(watch["length_s"].sum()) if seen else 0.0
    return WorkerHealth(
        worker=worker,
        requests_sent=len(lag_s),
        lag_s_p50=_quantile(lag_s, 0.5),
        lag_s_p99=_quantile(lag_s, 0.99),
        lag_s_max=_quantile(lag_s, 1.0),
        cpu_share_mean=(
            float((watch["cpu_share"] * watch["length_s"]).sum()) / length_s if seen else None
        ),
        cpu_share_max=_busiest(watch) if seen else None,
        stall_s_max=float(watch["stall_s_max"].max()) if seen else None,
        stalls=int(watch["stalls"].sum()) if seen else 0,
        stalled_share=float(watch["stalled_s"].sum()) / length_s if seen else None,
        clock_step_s_max=float(watch["clock_step_s"].max()) if seen else None,
        clock_error_s=clock_error_s,
        streams_max=int(watch["in_flight_max"].max()) if seen else 0,
        connections_reused_share=float(own["connection_reused"].mean()) if len(own) else None,
        rows_lost=rows_lost,
    )


def summarise(
    merged: pd.DataFrame,
    health: list[WorkerHealth],
    workers_lost: int,
    loop: Literal["open", "closed"] = "open",
) -> LoadSummary:
    """Return what the workers say about themselves, together.

    Args:
        merged: as `merge` returns it.
        health: one entry a worker that was started.
        workers_lost: how many ended before they were told to.
        loop: how the load was made.
    """
    lag_s = (merged["sent_s"] - merged["due_s"]).dropna()
    busy = [own.cpu_share_max for own in health if own.cpu_share_max is not None]
    stalls = [own.stall_s_max for own in health if own.stall_s_max is not None]
    lost = [own.rows_lost for own in health if own.rows_lost is not None]
    return LoadSummary(
        requests_due=len(merged),
        requests_sent=len(lag_s),
        rows=int((merged["worker"] >= 0).sum()),
        lag_s_p99=_quantile(lag_s, 0.99),
        cpu_share_max=max(busy, default=None),
        workers=len(health),
        workers_lost=workers_lost,
        spread_s_max=max(stalls, default=None),
        loop=loop,
        lag_s_p50=_quantile(lag_s, 0.5),
        lag_s_max=_quantile(lag_s, 1.0),
        rows_lost=sum(lost) if lost else None,
        health=health,
    )


def _busiest(watch: pd.DataFrame) -> float:
    """Return the largest CPU share over a second; a piece of one says nothing unless it is all."""
    whole = watch[watch["length_s"] >= _WHOLE_S]
    return float((whole if len(whole) else watch)["cpu_share"].max())


def _quantile(values: pd.Series[float], q: float) -> float | None:
    return float(values.quantile(q)) if len(values) else None


def _clock_error_s(plan: WorkerPlan) -> float | None:
    """Return what the worker said of its clock when it was ready; None: it never was."""
    if not plan.ready_path.exists():
        return None
    return float(orjson.loads(plan.ready_path.read_bytes()).get("clock_error_s", 0.0))


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
