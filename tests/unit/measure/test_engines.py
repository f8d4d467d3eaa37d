"""What Prometheus has of the engines of one model within a window."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from faultload.measure.engines import engine_view
from faultload.record import SERIES_SCHEMA


def series(name: str, values: list[float], replica: str = "r0", model: str = "m") -> pd.DataFrame:
    """Return one sample a second, from 0.5 s on."""
    labels = json.dumps({"model_name": model, "replica": replica}, sort_keys=True)
    found = [(name, labels, at + 0.5, value) for at, value in enumerate(values)]
    return pd.DataFrame(found, columns=SERIES_SCHEMA.names)


def test_batch_and_cache_are_those_of_the_model_within_the_window() -> None:
    """Means are of an engine; the maximum is of one engine at one moment; others are left out."""
    running, usage = "vllm:num_requests_running", "vllm:kv_cache_usage_perc"
    frame = pd.concat(
        [
            series(running, [99, 4, 6, 99]),
            series(running, [99, 8, 8, 99], replica="r1"),
            series(running, [50, 50, 50, 50], model="other"),
            series(usage, [0.9, 0.25, 0.5, 0.9]),
            series("vllm:num_preemptions_total", [0, 1, 3, 9]),
        ]
    )
    found = engine_view(frame, "m", 1.0, 3.0)

    assert (found["running"], found["running_max"]) == (6.5, 8.0)
    assert (found["kv_usage"], found["kv_usage_max"]) == (0.375, 0.5)
    assert found["preemptions"] == 3.0
    assert found["waiting"] is None


def test_no_series_is_no_data() -> None:
    """Nothing is zero for want of samples."""
    empty = pd.DataFrame(columns=SERIES_SCHEMA.names)

    assert set(engine_view(empty, "m", 0.0, 10.0).values()) == {None}


def test_preemptions_without_both_edges_are_not_known() -> None:
    """A counter that ends early counted what nobody saw."""
    frame = series("vllm:num_preemptions_total", [0, 1, 2])

    assert engine_view(frame, "m", 0.5, 20.0)["preemptions"] is None
    assert engine_view(frame, "m", 0.5, 3.0)["preemptions"] == pytest.approx(2.0)
