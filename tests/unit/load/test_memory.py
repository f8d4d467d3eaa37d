"""What a load costs the machine it runs on."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from loads import BOUND_S, made_trace, wait_until, workload
from streaming_server import streaming_server

from faultload.load import LoadGenerator

STREAMS = 1000
PEAK_MIB_MAX = 250
RATE_RPS = 300
TTFT_S = 4.0  # at RATE_RPS, 1,200 requests are open before the first is answered


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has ever had in RAM."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.local
@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_thousand_streams_in_one_worker_fit_into_250_mib(tmp_path: Path) -> None:
    """Peak resident memory of the worker: interpreter, Locust, trace and 1,000 open streams."""
    arrivals = {"kind": "constant", "rate_rps": RATE_RPS}
    trace = made_trace(tmp_path / "trace.parquet", 60, **arrivals)
    rows: list[dict[str, Any]] = []
    with streaming_server(TTFT_S) as server, contextlib.ExitStack() as held:
        load = LoadGenerator(trace, workload(**arrivals), server.url, tmp_path / "out", tmp_path)
        load.start()
        held.callback(load.stop, 0.0)
        load.wait_ready(BOUND_S)
        load.go(time.time() + 0.2)
        # Those due in the first seconds were all open when the first of them was answered.
        wait_until(lambda: rows.extend(load.poll()) or len(rows) >= STREAMS, "a thousand answers")
        (worker,) = load._processes.values()
        peak = peak_mib(worker.pid)
        load.stop(BOUND_S)
    summary = load.collect(tmp_path / "requests.parquet", 60)
    assert summary.health[0].streams_max >= STREAMS
    assert {row["status"] for row in rows} == {"ok"}
    assert peak < PEAK_MIB_MAX
