"""Does the load keep its schedule? Constant arrivals at 50/s, and at a share of the ceiling.

`python benchmarks/load/schedule.py` plays a trace with the worker that runs use, on one core, on a
fake server of known timing on another: first at 50 requests a second, then at 70 % of the rate that
`--ceiling` gives (`bench.py` measures it: streams per second, scene instant). Prints how late the
requests left and how near the rate came to the one asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench import CLIENT_CORE, SCENES, Scene, certificate, serving

from faultload.load import LoadGenerator, make_trace, write_trace
from faultload.spec import Scenario

READY_S = 30.0
# Rate asked for, bound on the p99 of lateness.
GOALS_S = {"50/s": 0.003, "70 % of the ceiling": 0.005}
RATE_ERROR_MAX = 0.01


def play(scene: Scene, rate_rps: float, length_s: float, folder: Path) -> dict[str, Any]:
    """Play constant arrivals for a while; return what came of them."""
    scenario = Scenario.model_validate(
        {
            "name": "constant",
            "description": "constant arrivals of equal requests",
            "arrivals": {"kind": "constant", "rate_rps": rate_rps},
            "tiers": [
                {
                    "tier": "fast",
                    "model": "chat",
                    "weight": 1,
                    "prompt_tokens": {"median": 8, "sigma": 0.1, "min": 8, "max": 8},
                    "output_tokens": {"median": 64, "sigma": 0.1, "min": 64, "max": 64},
                }
            ],
            "tenants": ["t"],
            "sessions": {"share": 0, "turns": 1},
            "timeouts": {"connect_s": 5, "first_token_s": 10, "gap_s": 10, "total_s": 30},
            "ignore_eos": True,
            "seed": 1,
        }
    )
    trace, requests = folder / "trace.parquet", folder / "requests.parquet"
    write_trace(make_trace(scenario, length_s, 1, folder), trace)
    with serving(scene, certificate(folder), folder / "server.json") as url:
        load = LoadGenerator(trace, scenario, url, folder / "work", folder / "logs")
        os.sched_setaffinity(0, {CLIENT_CORE})  # its processes inherit it
        try:
            load.start()
        finally:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        load.wait_ready(READY_S)
        load.go(time.time() + 0.5)
        time.sleep(length_s + 2.0)
        load.stop(5.0)
        summary = load.collect(requests, length_s)
    rows = pd.read_parquet(requests)
    sent = rows["sent_s"].dropna().to_numpy()
    late_s = sent - rows.loc[rows["sent_s"].notna(), "due_s"].to_numpy()
    return {
        "rate_rps": rate_rps,
        "sent": len(sent),
        "ok": int((rows["status"] == "ok").sum()),
        "rate_error": (len(sent) - 1) / float(sent[-1] - sent[0]) / rate_rps - 1,
        "late_s_p50": float(np.quantile(late_s, 0.5)),
        "late_s_p99": float(np.quantile(late_s, 0.99)),
        "late_s_max": float(late_s.max()),
        "cpu_share_max": summary.cpu_share_max,
    }


def main() -> int:
    """Measure and print; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ceiling", type=float, required=True, help="streams/s on one core")
    parser.add_argument("--length-s", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    scenes = {
        "50/s": (SCENES["paced"], 50.0),
        "70 % of the ceiling": (SCENES["instant"], 0.7 * asked.ceiling),
    }
    found, missed = {}, False
    for name, (scene, rate_rps) in scenes.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = one = play(scene, rate_rps, asked.length_s, Path(folder))
        met = one["late_s_p99"] <= GOALS_S[name] and abs(one["rate_error"]) <= RATE_ERROR_MAX
        met = met and one["ok"] == one["sent"]
        missed = missed or not met
        print(
            f"{name}: {one['sent']} of {rate_rps:.0f}/s, rate off by {one['rate_error']:+.2%},"
            f" late p50 {one['late_s_p50'] * 1e3:.2f} ms, p99 {one['late_s_p99'] * 1e3:.2f} ms, max"
            f" {one['late_s_max'] * 1e3:.1f} ms, {one['ok']} ok, CPU {one['cpu_share_max']:.0%}:"
            f" {'met' if met else 'MISSED'}"
        )
    if asked.json:
        asked.json.write_text(json.dumps(found))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
