"""Small workloads, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from scenes import scene

from faultload.judge.validity import check_load
from faultload.load import make_trace, write_trace
from faultload.record import LoadSummary
from faultload.spec.scenario import Scenario

BOUND_S = 30.0


def workload(**arrivals: Any) -> Scenario:
    """Return a workload of one tier; 60 requests a second at equal gaps unless told otherwise."""
    lengths = {"median": 5}
    tier = {"tier": "fast", "model": "m", "weight": 1, "prompt_tokens": lengths}
    return Scenario.model_validate(
        {
            "name": "s",
            "description": "d",
            "arrivals": arrivals or {"kind": "constant", "rate_rps": 60},
            "tiers": [tier | {"output_tokens": lengths}],
        }
    )


def made_trace(path: Path, duration_s: float, **arrivals: Any) -> Path:
    """Write a trace of `workload` and return its path."""
    write_trace(make_trace(workload(**arrivals), duration_s, 1), path)
    return path


def wait_until(ready: Callable[[], Any], what: str) -> None:
    """Poll for a condition; fails after BOUND_S."""
    until_s = time.monotonic() + BOUND_S
    while not ready():
        assert time.monotonic() < until_s, f"waited {BOUND_S:g} s for {what}"
        time.sleep(0.02)


def load_problems(summary: LoadSummary, requests: pd.DataFrame) -> list[str]:
    """Return what the judge finds wrong with a load."""
    evidence = replace(scene(), load=summary, requests=requests)
    return [finding.text for finding in check_load(evidence)]
