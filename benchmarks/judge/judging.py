"""A million request rows, read from a record and judged against five objectives."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from timing import asked, rss_mb, tell

from faultload.judge import Evidence, judge
from faultload.record import (
    JUDGED_COLUMNS,
    REQUEST_SCHEMA,
    InjectionEntry,
    InjectionStep,
    LoadSummary,
    Outcome,
    Phase,
    PhaseName,
    read_requests,
)
from faultload.spec.experiment import Expects

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from scenes import slo  # noqa: E402

SEED = 7
BOUND_S = 300.0


def best(rows: int, repeat: int) -> dict[str, Any]:
    """Judge in processes of their own, as the peak of one hides that of the next; keep the best."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "requests.parquet")
        runs: list[dict[str, Any]] = []
        for step in ["write", *["judge"] * repeat]:
            command = [sys.executable, __file__, str(rows), "1", step, path]
            done = subprocess.run(command, stdout=subprocess.PIPE, timeout=BOUND_S, check=True)
            if step == "judge":
                runs.append(orjson.loads(done.stdout))
    return min(runs, key=lambda run: float(run["wall_s"]))


def judged(rows: int, path: Path) -> dict[str, Any]:
    """Read the rows and judge them."""
    libraries_mb = rss_mb()
    began, began_cpu = time.perf_counter(), time.process_time()
    requests = read_requests(path, JUDGED_COLUMNS)
    read_s, read_mb = time.perf_counter() - began, rss_mb()
    judgement = judge(_evidence(requests, rows))
    if judgement.requests != rows:
        sys.exit("judge: not every row was judged")
    return {
        "rows": rows,
        "wall_s": time.perf_counter() - began,
        "cpu_s": time.process_time() - began_cpu,
        "read_s": read_s,
        "rss_mb": rss_mb(),
        "libraries_mb": libraries_mb,
        "read_mb": read_mb,
        "verdict": str(judgement.verdict),
    }


def write(rows: int, path: Path) -> None:
    """Write a run's request rows: a third of an hour, a fault in its middle, 64-token streams."""
    generator = np.random.default_rng(SEED)
    due = np.sort(generator.uniform(0, 1200, rows))
    bad = (due > 610) & (due < 630) & (generator.random(rows) < 0.6)
    first = np.where(bad, np.nan, due + generator.lognormal(-3, 0.4, rows))
    last = first + generator.lognormal(0, 0.3, rows)
    tier = np.where(generator.random(rows) < 0.7, "fast", "reasoning")
    tokens = np.where(bad, 0, 64)
    columns: dict[str, Any] = {
        "index": np.arange(rows),
        "due_s": due,
        "sent_s": due + 0.0005,
        "first_token_s": first,
        "last_token_s": last,
        "end_s": np.where(bad, due + 0.01, last + 0.001),
        "status": pa.array(np.where(bad, "http_error", "ok")),
        "http_status": np.where(bad, 503, 200),
        "finish_reason": pa.array(np.where(bad, "", "length")),
        "tier": pa.array(tier),
        "model": pa.array(np.char.add("model-", tier)),
        "tenant": pa.array(np.char.add("tenant-", generator.integers(0, 40, rows).astype(str))),
        "session": pa.array(np.char.add("s", generator.integers(0, rows, rows).astype(str))),
        "prompt_tokens": generator.integers(10, 2000, rows),
        "output_tokens_asked": np.full(rows, 64),
        "output_tokens": tokens,
        "gap_s_max": np.where(bad, np.nan, generator.lognormal(-3.5, 0.5, rows)),
        "served_by": pa.array(np.char.add("r", generator.integers(0, 20, rows).astype(str))),
        "connection_reused": np.ones(rows, dtype=bool),
        "error": pa.array(np.where(bad, "503 from the router", "")),
        "resent": np.zeros(rows, dtype=bool),
        "done": ~bad,
        "usage_tokens": tokens,
        "gaps_s": pa.ListArray.from_arrays(
            np.concatenate([[0], np.cumsum(np.where(bad, 0, 63))]).astype(np.int32),
            pa.array(generator.lognormal(-4, 0.3, int((~bad).sum()) * 63).astype(np.float32)),
        ),
    }
    zeros = np.zeros(rows)
    arrays = [pa.array(columns.get(f.name, zeros)).cast(f.type) for f in REQUEST_SCHEMA]
    table = pa.table(arrays, schema=REQUEST_SCHEMA)
    pq.write_table(table, path, compression="zstd", row_group_size=131_072)


def _evidence(requests: pd.DataFrame, rows: int) -> Any:

    edges = {"warmup": (0, 60), "baseline": (60, 600), "fault": (600, 660), "recovery": (660, 1200)}
    at = {"planned": 599.9, "injecting": 600.0, "injected": 600.1, "verified": 600.5}
    at |= {"reverting": 659.0, "reverted": 659.5, "verified-reverted": 660.0}
    steps = [step for step in InjectionStep if step is not InjectionStep.FAILED]
    injections = [
        InjectionEntry("i1", step, "kill_replica", 1e9 + moment)
        for step, moment in zip(steps, at.values(), strict=True)
    ]
    good = ("served", "intact", "ttft_s <= 0.25", "e2e_s <= 10", "tpot_s <= 0.1")
    return Evidence(
        requests=requests,
        phases=[
            Phase(name=PhaseName(name), start_s=start, end_s=end)
            for name, (start, end) in edges.items()
        ],
        injections=injections,
        t0_unix_s=1e9,
        slos=[slo(one.split()[0].replace("_", "-"), one, 0.99) for one in good],
        expects=Expects(recovery_s_max=60, budget_percent_max=5),
        gaps=(),
        outcome=Outcome.COMPLETED,
        reason="",
        aborted_by_person=False,
        steady_state_met=True,
        load=LoadSummary(
            requests_due=rows,
            requests_sent=rows,
            rows=rows,
            lag_s_p99=0.002,
            cpu_share_max=0.4,
            workers=4,
        ),
        clock_drift_s=0.0,
        coverage={"up": 1.0},
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        tell(best(*asked()))
    elif sys.argv[3] == "write":
        write(asked()[0], Path(sys.argv[4]))
    else:
        tell(judged(asked()[0], Path(sys.argv[4])))
