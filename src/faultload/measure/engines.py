"""What the engines of one model did within a window: their batch, KV cache and preemptions."""

from __future__ import annotations

import orjson
import pandas as pd

from faultload.measure.counters import increases
from faultload.measure.scrapes import Scrapes

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_USAGE = "vllm:kv_cache_usage_perc"
PREEMPTIONS = "vllm:num_preemptions_total"


def engine_view(
    series: pd.DataFrame, model: str, start_s: float, end_s: float
) -> dict[str, float | None]:
    """Return what Prometheus has of a model's engines in [start_s, end_s).

    Args:
        series: rows in the record's series schema.
        model: as the engines' label `model_name` has it.
        start_s: the window's start.
        end_s: its end.

    Returns:
        `running`, `waiting` (mean requests an engine), `running_max` (of one engine at one moment),
        `kv_usage`, `kv_usage_max` (0-1) and `preemptions` (of all engines). None: no data, or, of
        the counter, not seen at both ends.
    """
    running, waiting = _of_model(series, RUNNING, model), _of_model(series, WAITING, model)
    usage = _of_model(series, KV_USAGE, model)
    window = [
        values[(values["t_s"] >= start_s) & (values["t_s"] < end_s)]["value"]
        for values in (running, waiting, usage)
    ]
    counted = increases(_of_model(series, PREEMPTIONS, model), start_s, end_s, Scrapes.of(series))
    is_whole = bool(counted) and all(one.complete for one in counted.values())
    means = [float(values.mean()) if len(values) else None for values in window]
    most = [float(values.max()) if len(values) else None for values in window]
    return {
        "running": means[0],
        "running_max": most[0],
        "waiting": means[1],
        "kv_usage": means[2],
        "kv_usage_max": most[2],
        "preemptions": sum(one.value for one in counted.values()) if is_whole else None,
    }


def _of_model(series: pd.DataFrame, name: str, model: str) -> pd.DataFrame:
    rows = series[series["series"] == name]
    own = {text for text in rows["labels"].unique() if _model_of(str(text)) == model}
    return rows[rows["labels"].isin(own)]


def _model_of(labels: str) -> str:
    return str(orjson.loads(labels).get("model_name", ""))
