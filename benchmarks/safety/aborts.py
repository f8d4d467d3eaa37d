"""How soon an abort takes harm back, and whether healthy traffic is ever aborted.

`python benchmarks/safety/aborts.py real --aborts 25` hangs an engine of one local platform 25 times
under load, each in a run of its own that a stop condition ends, and takes the time from the breach
to the fault taken back. The breach is found afterwards, in the sealed request rows: the end of the
request by which the condition was reached, and not the moment at which the watch saw it. With
`--add` the aborts are added to those measured before. With `--kept-load` one load goes on through
all of the runs: that is quicker to measure, and harder on the way back, because nothing lets up.

`python benchmarks/safety/aborts.py replay [RECORDS]` plays healthy streams through the watch in
virtual time: drawn ones, with blips, of every scenario; what the sealed records under the given
folders hold from before their fault; and, under milder conditions, all of it where the run passed.
Each abort is a false one.

Both keep their figures in benchmarks/data/aborts.json.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import yaml
from healthy import drawn_streams, recorded_streams

from faultload.errors import AbortedError, FaultloadError
from faultload.load import LoadGenerator, make_trace, write_trace
from faultload.load.rows import summarise
from faultload.record import (
    REQUEST_SCHEMA,
    InjectionStep,
    LoadSummary,
    Outcome,
    PhaseName,
    RunDirectory,
    read_requests,
    write_table,
)
from faultload.run import supervisor
from faultload.run.events import read_events
from faultload.run.plan import RunPlan, prepare
from faultload.run.progress import Silent
from faultload.run.supervisor import Supervisor
from faultload.spec import Catalogue, LocalTargetSpec, StopSpec, load_target
from faultload.targets import LocalTarget

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "benchmarks" / "data" / "aborts.json"
TIMES = ("due_s", "sent_s", "first_token_s", "last_token_s", "end_s")
QUICK = ("cold_start_s=2", "model_store.enabled=false", "restart.backoff_s=1")
PROMISE_S = 3.0

STOP = {
    "bad_requests": {"share_max": 0.05, "window_s": 3, "requests_min": 10, "for_s": 0},
    "telemetry_missing_s": 10,
}
STRICT = {
    "budget_percent_max": 0.05,
    "bad_requests": {"share_max": 0.1, "window_s": 10, "requests_min": 20, "for_s": 2},
    "queries": [{"name": "kv", "promql": "max(kv)", "above": 0.98, "for_s": 5}],
    "telemetry_missing_s": 6,
}


def lay_out(folder: Path) -> RunPlan:
    """Return the plan of a run that hangs one engine until a stop condition ends it."""
    source = ROOT / "experiments" / "engine" / "freeze.yaml"
    experiment = yaml.safe_load(source.read_text(encoding="utf-8"))
    experiment["configuration"]["hold_s"] = 20
    probes = experiment["steady-state-hypothesis"]["probes"]
    experiment["steady-state-hypothesis"]["probes"] = probes[:1]
    experiment["extensions"][0] |= {
        "scenario": "impatient",
        "phases": {"warmup_s": 0.2, "baseline_s": 1, "recovery_s": 1},
        "expects": {},
        "stop": STOP,
    }
    scenario = yaml.safe_load((ROOT / "scenarios/chat-steady.yaml").read_text(encoding="utf-8"))
    # A hung engine says nothing: what tells of it is a client that does not wait for long.
    timeouts = {"connect_s": 1, "first_token_s": 0.5, "gap_s": 0.5, "total_s": 20}
    scenario |= {"name": "impatient", "timeouts": timeouts}
    target = yaml.safe_load((ROOT / "targets/local.yaml").read_text(encoding="utf-8"))
    target["local"]["config"] = str(ROOT / "platform" / "local.yaml")
    for name, document in {
        "experiments/engine/freeze": experiment,
        "scenarios/impatient": scenario,
        "targets/local": target,
    }.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    (folder / "slos").symlink_to(ROOT / "slos")
    return prepare(Catalogue(folder), "engine/freeze", "local")


class KeptLoad:
    """One load for many runs: each sees its rows from its own start on, and cannot stop it."""

    port = None

    def __init__(self, plan: RunPlan, platform: LocalTarget, folder: Path, length_s: float) -> None:
        """Start it; it ends with `end`."""
        trace = folder / "kept.parquet"
        beside = plan.scenario_path.parent
        write_trace(make_trace(plan.scenario, length_s, plan.seed, beside), trace)
        url = platform.endpoints.inference_url
        self._load = LoadGenerator(trace, plan.scenario, url, folder / "out", folder / "logs")
        self._load.start()
        self._load.wait_ready(60.0)
        self._t0_unix_s = time.time()
        self._load.go(self._t0_unix_s)
        self._rows: list[dict[str, Any]] = []

    def begin_stop(self, *_: float) -> None:
        """Go on: a run has ended, or is about to begin."""

    start = stop = wait_ready = begin_stop

    def go(self, t0_unix_s: float) -> None:
        """Begin a run; what was due before it is not its own."""
        self._load.poll()
        self._shift_s = t0_unix_s - self._t0_unix_s
        self._rows.clear()

    def poll(self) -> list[dict[str, Any]]:
        """Return the run's rows since the last call, by its clock."""
        new = []
        for row in self._load.poll():
            times = {key: row[key] for key in TIMES if row[key] is not None}
            new.append(row | {key: at_s - self._shift_s for key, at_s in times.items()})
        own = [row for row in new if row["due_s"] >= 0]
        self._rows += own
        return own

    def alive(self) -> bool:
        """Tell whether it goes on."""
        return self._load.alive()

    def collect(self, requests: Path, end_s: float) -> LoadSummary:
        """Write the rows that came; of what is open nobody knows."""
        frame = pd.DataFrame(self._rows, columns=REQUEST_SCHEMA.names)
        write_table(frame[frame["due_s"] < end_s], REQUEST_SCHEMA, requests)
        return summarise(frame, [], 0, loop="open")

    def end(self) -> None:
        """Stop it."""
        self._load.stop(1.0)


def abort_once(plan: RunPlan, target: LocalTarget) -> dict[str, float]:
    """Run until the stop condition ends it, as the flow does; return the times, s.

    Raises:
        FaultloadError: it was not aborted, or the harm not taken back.
    """
    with Supervisor(plan, target, Silent()) as run:
        reason = ""
        try:
            run.survey()
            run.start_load()
            run.pass_time(PhaseName.WARMUP, plan.warmup_s)
            run.pass_time(PhaseName.BASELINE, plan.baseline_s)
            run.break_it()
        except AbortedError as error:
            reason = str(error)
            run.give_up(reason)
        run.ensure_reverted()
        run.seal(Outcome.ABORTED if reason else Outcome.COMPLETED, reason)
        return times_of(run.directory)


def times_of(directory: RunDirectory) -> dict[str, float]:
    """Return when an aborted run's condition was reached, seen, and its harm taken back."""
    found = [e for e in read_events(directory.events) if e["kind"] == "stop_condition"]
    if not found:
        raise FaultloadError("no stop condition was reached")
    seen = found[0]["data"]
    breach_s = breach_in(read_requests(directory.requests))
    t0_unix_s = directory.manifest().clock.t0_unix_s
    began = [
        entry.time_unix_s - t0_unix_s
        for entry in directory.injections.entries()
        if entry.step is InjectionStep.REVERTING
    ]
    return {
        "breach_to_reverted_s": seen["reverted_s"] - breach_s,
        "breach_to_seen_s": seen["seen_s"] - breach_s,
        "seen_to_reverting_s": min(began) - seen["seen_s"],
        "seen_to_reverted_s": seen["reverted_s"] - seen["seen_s"],
        "seen_to_proven_gone_s": seen["proven_gone_s"] - seen["seen_s"],
    }


def breach_in(requests: pd.DataFrame) -> float:
    """Return the end of the request by which `bad_requests` was reached, from the rows alone."""
    spec = STOP["bad_requests"]
    window: deque[tuple[float, bool]] = deque()
    ended = requests[requests["status"] != "unfinished"].sort_values("end_s")
    for end_s, status in zip(ended["end_s"], ended["status"], strict=True):
        window.append((end_s, status != "ok"))
        while window[0][0] <= end_s - spec["window_s"]:
            window.popleft()
        bad = sum(is_bad for _, is_bad in window)
        if len(window) >= spec["requests_min"] and bad > spec["share_max"] * len(window):
            return float(end_s)
    raise FaultloadError("the rows do not show that the condition was reached")


def real(options: argparse.Namespace) -> dict[str, Any]:
    """Abort so many runs on one platform; return their figures."""
    before = json.loads(FIGURES.read_text(encoding="utf-8"))["real"] if options.add else {}
    times: list[dict[str, Any]] = before.get("aborts", [])
    failed: list[str] = before.get("failed", [])
    with tempfile.TemporaryDirectory() as folder:
        plan = lay_out(Path(folder))
        spec = load_target(plan.target_path)
        platform = LocalTarget.start(cast("LocalTargetSpec", spec), plan.target_path, QUICK)
        end_s = time.monotonic() + options.seconds
        kept = None
        try:
            if options.kept_load:
                kept = KeptLoad(plan, platform, Path(folder), options.seconds + 120)
                supervisor.LoadGenerator = lambda *_, **__: kept
            for number in range(options.aborts):
                if time.monotonic() > end_s:
                    break
                # The watch looks once a second: the harm must not come at the same moment always.
                seed = len(times) + number
                least_s = 0.3 if options.kept_load else 1.0
                lengths = {"seed": seed, "baseline_s": least_s + random.Random(seed).random()}
                try:
                    found = abort_once(replace(plan, **lengths), platform)
                    times.append(found | {"kept_load": options.kept_load})
                    print({key: round(value, 3) for key, value in times[-1].items()}, flush=True)
                    keep("real", figures_of(times, failed))
                except FaultloadError as error:
                    failed.append(str(error))
                    print(f"FAILED: {error}", flush=True)
        finally:
            if kept is not None:
                kept.end()
            platform.close()
    return figures_of(times, failed)


def figures_of(times: list[dict[str, Any]], failed: list[str]) -> dict[str, Any]:
    """Sum aborts up."""
    within = sum(one["breach_to_reverted_s"] <= PROMISE_S for one in times)
    return {
        "fault": "hang_replica",
        "stop": STOP,
        "count": len(times),
        "under_a_kept_load": sum(bool(one.get("kept_load")) for one in times),
        "within_3_s": within,
        "quantiles": {
            key: quantiles([one[key] for one in times]) for key in times[0] if key != "kept_load"
        },
        "failed": failed,
        "aborts": times,
    }


def keep(what: str, figures: dict[str, Any]) -> None:
    """Write one part of the figures, and leave the other."""
    kept = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(kept | {what: figures}, indent=1) + "\n", encoding="utf-8")


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return what a person asks for first; no interpolation."""
    found = np.quantile(values, [0.5, 0.95, 0.99, 1.0], method="inverted_cdf")
    return {
        key: round(float(x), 3) for key, x in zip(("p50", "p95", "p99", "max"), found, strict=True)
    }


def replay(options: argparse.Namespace) -> dict[str, Any]:
    """Play every healthy stream under strict conditions, and under those of the shipped example."""
    strict = StopSpec.model_validate(STRICT)
    shipped = load_target(ROOT / "targets" / "staging.example.yaml").stop or strict
    # Its own query asks for what no stream here has an answer to.
    shipped = shipped.model_copy(update={"queries": strict.queries})
    streams, seconds, false = Counter[str](), Counter[str](), list[str]()
    for stream in (*drawn_streams(), *recorded_streams(options.records)):
        streams[stream.kind] += 1
        seconds[stream.kind] += round(stream.end_s)
        for which, stop in (("strict", strict), ("shipped", shipped)):
            if stream.kind == "passed" and stop is strict:
                continue  # its fault was felt, which that would not stand
            breach = stream.play(stop)
            if breach is not None:
                false.append(
                    f"{stream.kind} {stream.name}, {which}, {breach.seen_s} s: {breach.text}"
                )
                print(f"FALSE ABORT: {false[-1]}", flush=True)
    return {
        "strict": STRICT,
        "shipped": shipped.model_dump(exclude_none=True),
        "streams": dict(streams),
        "seconds": dict(seconds),
        "false_aborts": false,
    }


def main() -> int:
    """Measure and report; 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="what", required=True)
    first = commands.add_parser("real", help="abort runs on a local platform")
    first.add_argument("--aborts", type=int, default=100)
    first.add_argument("--seconds", type=float, default=3600.0, help="begin none after so long")
    first.add_argument("--add", action="store_true", help="to what was measured before")
    first.add_argument("--kept-load", action="store_true", help="one load for all runs")
    second = commands.add_parser("replay", help="play healthy streams through the watch")
    second.add_argument("records", type=Path, nargs="*", help="folders with stored runs")
    options = parser.parse_args()
    figures = (real if options.what == "real" else replay)(options)
    keep(options.what, figures)
    print(json.dumps({k: v for k, v in figures.items() if k != "aborts"}, indent=1))
    if options.what == "replay":
        return 1 if figures["false_aborts"] else 0
    late = figures["quantiles"]["breach_to_reverted_s"]["p99"] > PROMISE_S
    return 1 if late or figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
