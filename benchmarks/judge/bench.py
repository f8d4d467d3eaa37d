"""How fast a record is read and judged; each part beside its peer, in processes of its own.

`python benchmarks/judge/bench.py` prints a table; `--small` a hundredth of each, for a look;
`--json FILE` writes all figures.

frames     a million Prometheus samples, from the bytes of the answers to one table: ours, and
           prometheus-api-client's own (its JSON parser, then MetricRangeDataFrame)
judging    a million request rows: `requests.parquet` read and judged against five objectives
quantiles  p50, p95 and p99 by second and phase over ten million rows: ours, and plain pandas

`cpu_s` is CPU on one core, so that others on the machine count little; a ratio is to the peer of
the same run. Peak RSS is the whole process's, its libraries included. The best of `--repeat` runs
counts, for both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

HERE = Path(__file__).parent
BOUND_S = 1800.0
SIZES = {"frames": 1_000_000, "judging": 1_000_000, "quantiles": 10_000_000}
GOALS = {
    ("frames", "ratio"): (">=", 1.8),
    ("judging", "wall_s"): ("<", 5.0),
    ("judging", "rss_mb"): ("<", 500.0),
    ("quantiles", "ratio"): ("<=", 1.3),
}
ONE_CORE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS")


def main() -> None:
    """Run every part."""
    parser = argparse.ArgumentParser(description="How fast a record is read and judged.")
    parser.add_argument("--small", action="store_true", help="a hundredth of each, for a look")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs counts")
    parser.add_argument("--json", type=Path, help="write all figures")
    given = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for name, size in SIZES.items():
        found[name] = _part(name, size // (100 if given.small else 1), given.repeat)
        print("\n".join(_lines(name, found[name], is_whole=not given.small)), flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _part(name: str, size: int, repeat: int) -> dict[str, Any]:
    command = [sys.executable, str(HERE / f"{name}.py"), str(size), str(repeat)]
    alone = os.environ | dict.fromkeys(ONE_CORE, "1")
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=BOUND_S, check=False, env=alone)
    if done.returncode:
        sys.exit(f"{name}: ended with code {done.returncode}; its words are above")
    figures: dict[str, Any] = orjson.loads(done.stdout)
    return figures


def _lines(part: str, figures: dict[str, Any], *, is_whole: bool) -> list[str]:
    lines = []
    for name, value in figures.items():
        text = f"{value:,.3f}" if isinstance(value, float) else f"{value}"
        # A hundredth shows what each costs to begin, and says nothing of a goal.
        goal = _goal(part, name, value) if is_whole else ""
        lines.append(f"{part:10} {name:14} {text:>14}   {goal}".rstrip())
    return lines


def _goal(part: str, name: str, value: Any) -> str:
    if (part, name) not in GOALS:
        return ""
    how, goal = GOALS[part, name]
    met = {">=": value >= goal, "<": value < goal, "<=": value <= goal}[how]
    return f"goal {how} {goal:g}: {'met' if met else 'MISSED'}"


if __name__ == "__main__":
    main()
