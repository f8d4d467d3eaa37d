"""How often the gate is wrong on real trials: measures a pool of them, and draws gates from it.

    python benchmarks/gate/live.py --measure --trials 40            # three local platforms; 40 min
    python benchmarks/gate/live.py --measure --trials 40 --resume --for-s 550
    python benchmarks/gate/live.py              # draw gates; writes data and docs/statistics.md
    python benchmarks/gate/live.py --tables     # write docs/statistics.md from what was drawn
    python benchmarks/gate/live.py --check      # exit 1 when it is not what that would write

Arms are two local platforms of one configuration and one whose decode takes 20 % longer. Each plays
the same traces, in an order that is drawn and balanced, one trial at a time as `faultload gate`
runs it. Each trial is kept in benchmarks/data/gate-live.json as soon as it is over: stopped at any
time, `--resume` goes on with those that are missing. Platforms are started anew every two turns
over the traces, which is a quick gate's worth. What was drawn is kept beside it.

Exits 0 when every trial is there and good (or all was drawn), 2 when some are missing or the pool
is too small, 64 for a bad argument.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import live_draws
import live_tables
from live_pool import ARMS, POOL, Kept, Opening, Pool, sketches

from faultload.errors import ExitCode, FaultloadError, Interrupted, UsageError
from faultload.record import RunDirectory, read_requests
from faultload.report.gate import shown
from faultload.run.gate.deciding import measure as measured
from faultload.run.gate.plan import Asked, GatePlan, Mode, prepare_gate
from faultload.run.gate.sides import OpenSide, SideSpec, opened
from faultload.run.gate.trials import run_trial
from faultload.run.progress import Silent
from faultload.run.sealing import commit_of
from faultload.run.signals import SignalGuard
from faultload.secrecy import private_files
from faultload.spec import Catalogue

ROOT = Path(__file__).parents[2]
SEED = 20_261_122
SLOWER = (
    "tiers.fast.engine.step_base_s=0.0096",
    "tiers.fast.engine.step_per_seq_s=0.00024",
    "tiers.reasoning.engine.step_base_s=0.024",
    "tiers.reasoning.engine.step_per_seq_s=0.00036",
)
"""All that a decode step costs in platform/local.yaml, times 1.2."""
RATE_RPS, WARMUP_S, TRIAL_S = 42.0, 2.5, 9.5
"""So that a trial takes 20 s with its start and its last answers, and has about 400 requests: ten
such trials a side without an error prove that there are few."""
OPENING_TURNS = 2
_ATTEMPTS = 2


@dataclass(frozen=True)
class Cell:
    """A trial that is to be run."""

    turn: int
    trace: str
    arm: str


def schedule(trials: int, traces: Sequence[str], seed: int) -> list[Cell]:
    """Return so many trials an arm in the order in which they are to be run.

    Of six trials of a trace, in whatever turn, each order of the arms is one's; more trials never
    change the order of those before.
    """
    orders = list(itertools.permutations(ARMS))
    cells = []
    for start in range(0, trials, len(traces)):
        turn = start // len(traces) + 1
        count = min(len(traces), trials - start)
        turn_order = np.random.default_rng([seed, 1, turn]).permutation(count)
        for index in (start + int(one) for one in turn_order):
            block, place = divmod(index, len(orders))
            drawn = np.random.default_rng([seed, 2, block]).permutation(len(orders))
            arms = orders[int(drawn[place])]
            cells += [Cell(turn, traces[index - start], arm) for arm in arms]
    return cells


def missing(cells: Sequence[Cell], pool: Pool) -> list[Cell]:
    """Return those that have no good trial yet."""
    done = {(one.turn, one.trace, one.arm) for one in pool.good()}
    return [one for one in cells if (one.turn, one.trace, one.arm) not in done]


def planned(
    mode: Mode = Mode.QUICK, *, rate_rps: float = RATE_RPS, trial_s: float = TRIAL_S
) -> GatePlan:
    """Return the gate whose trials these are."""
    asked = Asked(
        baseline="local",
        candidate="local",
        candidate_set=SLOWER,
        mode=mode,
        trial_s=trial_s,
        warmup_s=WARMUP_S,
        cooldown_s=0.0,
        seed=SEED,
        repeat="python benchmarks/gate/live.py --measure",
    )
    plan = prepare_gate(Catalogue(ROOT), asked)
    arrivals = plan.scenario.arrivals.model_copy(update={"rate_rps": rate_rps})
    return replace(plan, scenario=plan.scenario.model_copy(update={"arrivals": arrivals}))


def settings(plan: GatePlan, traces: Mapping[str, str]) -> dict[str, object]:
    """Return what all trials of a pool must share; `traces` is SHA-256 by name."""
    return {
        "scenario": plan.scenario.name,
        "rate_rps": plan.scenario.arrivals.rate_rps,
        "warmup_s": plan.warmup_s,
        "trial_s": plan.trial_s,
        "seed": plan.seed,
        "slower": list(SLOWER),
        "traces": dict(traces),
    }


class Measuring:
    """Runs what is missing of a pool."""

    def __init__(self, plan: GatePlan, pool: Pool, path: Path, work: Path) -> None:
        """Start nothing yet; traces lie in `work` already."""
        self._plan, self._pool, self._path, self._work = plan, pool, path, work
        self._commit = commit_of(ROOT)  # before the pool itself makes the tree differ from it
        self._began_s, self._before = time.monotonic(), len(pool.trials)

    def run(self, cells: Sequence[Cell], until_s: float) -> None:
        """Run what is missing, and begin none after `until_s` (monotonic)."""
        left = missing(cells, self._pool)
        for _, group in itertools.groupby(left, lambda one: (one.turn - 1) // OPENING_TURNS):
            if time.monotonic() >= until_s:
                return
            with self._open() as arms:
                for cell in group:
                    if time.monotonic() >= until_s:
                        return
                    self._try(cell, *arms[cell.arm])
                    self._say(cells)

    @contextlib.contextmanager
    def _open(self) -> Iterator[dict[str, tuple[SideSpec, OpenSide, dict[str, str]]]]:
        """Start the platforms of all arms, as a gate starts its two sides."""
        began_s, busy = time.monotonic(), os.getloadavg()[0]
        machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
        base, slower = self._plan.sides["baseline"], self._plan.sides["candidate"]
        holder, catalogue = "benchmarks/gate/live.py", self._plan.catalogue
        with (
            opened(catalogue, [base, slower], holder) as pair,
            opened(catalogue, [base], holder) as again,
        ):
            self._pool.openings.append(Opening(_now(), self._commit, machine, round(busy, 2)))
            sides = {
                "a": (base, pair["baseline"]),
                "a again": (base, again["baseline"]),
                "slower": (slower, pair["candidate"]),
            }
            print(f"three platforms are up after {time.monotonic() - began_s:.0f} s", flush=True)
            yield {arm: (spec, side, side.environment()) for arm, (spec, side) in sides.items()}

    def _try(self, cell: Cell, spec: SideSpec, side: OpenSide, environment: dict[str, str]) -> None:
        for _ in range(_ATTEMPTS):
            kept = self._trial(cell, spec, side, environment)
            self._pool.trials.append(kept)
            self._pool.write(self._path)
            if not kept.problems:
                return
            print(f"  spoilt: {kept.problems[0]}", flush=True)

    def _trial(
        self, cell: Cell, spec: SideSpec, side: OpenSide, environment: dict[str, str]
    ) -> Kept:
        plan, begun, began_s = self._plan, _now(), time.monotonic()
        with tempfile.TemporaryDirectory(dir=self._work) as folder:
            directory = RunDirectory.create(Path(folder), "trial")
            trace = self._work / f"{cell.trace}.parquet"
            problems, _ = run_trial(plan, spec, side, trace, directory, environment, Silent())
            numbers, requests, quantiles = {}, 0, {"ttft_ms": [], "tpot_ms": []}
            if not problems:
                window_s = (plan.warmup_s, plan.end_s)
                said = measured(directory, plan.slos, plan.scenario, window_s)
                numbers, requests = dict(said.numbers), said.requests
                quantiles = sketches(read_requests(directory.requests), window_s)
        return Kept(
            arm=cell.arm,
            trace=cell.trace,
            turn=cell.turn,
            opening=len(self._pool.openings),
            begun=begun,
            length_s=round(time.monotonic() - began_s, 1),
            requests=requests,
            problems=problems,
            numbers=numbers,
            **quantiles,
        )

    def _say(self, cells: Sequence[Cell]) -> None:
        last, left = self._pool.trials[-1], len(missing(cells, self._pool))
        numbers = "  ".join(
            f"{sli.name} {shown(sli.unit, last.numbers[sli.name])}"
            for sli in self._plan.slis[:4]
            if sli.name in last.numbers
        )
        spent_s, run = time.monotonic() - self._began_s, len(self._pool.trials) - self._before
        print(
            f"[{len(cells) - left}/{len(cells)}] turn {last.turn} {last.trace} {last.arm:<7}"
            f" {last.length_s:4.1f} s  {numbers};"
            f"  {left} left, about {left * spent_s / run / 60:.0f} min",
            flush=True,
        )


def measure(given: argparse.Namespace, path: Path = POOL) -> int:
    """Run what is missing of the pool; return an exit code.

    Raises:
        UsageError: there is a pool already, or one of other trials.
        FaultloadError: a platform did not start, or died.
        Interrupted: a signal came; what was over is kept, and everything started is ended.
    """
    plan = planned(rate_rps=given.rate_rps, trial_s=given.trial_s)
    signals = SignalGuard()
    began_s = time.monotonic()
    until_s = began_s + (given.for_s or float("inf"))
    with signals.installed(), private_files(), tempfile.TemporaryDirectory() as work:
        wanted = settings(plan, plan.write_traces(Path(work)))
        pool = _pool(path, wanted, is_resumed=given.resume)
        cells = schedule(given.trials, plan.trace_names, plan.seed)
        left = missing(cells, pool)
        print(f"{len(cells) - len(left)} of {len(cells)} trials are there already", flush=True)
        with signals.listening():
            Measuring(plan, pool, path, Path(work)).run(cells, until_s)
        left = missing(cells, pool)
    print(f"{len(cells) - len(left)} of {len(cells)} trials, {time.monotonic() - began_s:.0f} s")
    if left:
        print("go on with the same command and --resume")
    return int(ExitCode.INCONCLUSIVE if left else ExitCode.PASS)


def _pool(path: Path, wanted: Mapping[str, object], *, is_resumed: bool) -> Pool:
    if not path.exists():
        return Pool(wanted)
    pool = Pool.read(path)
    if not is_resumed:
        raise UsageError(
            f"{path}: holds {len(pool.trials)} trials already: go on with --resume, or remove it"
        )
    other = [key for key in wanted if pool.settings.get(key) != wanted[key]]
    if other:
        raise UsageError(
            f"{path}: expected trials such as these, found other {', '.join(other)}:"
            " remove it to measure anew"
        )
    return pool


def draw(given: argparse.Namespace) -> int:
    """Draw gates from the pool, keep what they say, write the section; return an exit code."""
    if not POOL.exists():
        raise UsageError(f"{POOL}: expected a pool of trials, found none: run --measure first")
    plans = {mode.value: planned(mode) for mode in Mode}
    drawn = live_draws.drawn(
        POOL,
        {mode: plan.rounds for mode, plan in plans.items()},
        plans["quick"].slis,
        gates=given.gates,
        resamples=given.resamples,
        seed=SEED,
    )
    if isinstance(drawn, str):
        print(drawn, file=sys.stderr)
        return int(ExitCode.INCONCLUSIVE)
    live_tables.keep(drawn)
    return live_tables.write(only_check=False)


def main() -> int:
    """Do what is asked for."""
    given = _arguments()
    try:
        if given.measure:
            return measure(given)
        if given.tables or given.check:
            return live_tables.write(only_check=given.check)
        return draw(given)
    except FaultloadError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    except Interrupted as error:
        print(f"{error}: what was over is kept; go on with --resume", file=sys.stderr)
        return error.exit_code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="run trials on local platforms")
    parser.add_argument("--trials", type=_count, default=40, help="an arm, with --measure (40)")
    parser.add_argument("--for-s", type=_count, help="begin no trial after so many seconds")
    parser.add_argument("--resume", action="store_true", help="go on with the pool that is there")
    parser.add_argument("--rate-rps", type=_count, default=RATE_RPS, help="with --measure (42)")
    parser.add_argument("--trial-s", type=_count, default=TRIAL_S, help="with --measure (9.5)")
    parser.add_argument("--gates", type=_count, default=2000, help="that are drawn of a case")
    parser.add_argument("--resamples", type=_count, default=100, help="of the pool, for intervals")
    parser.add_argument("--tables", action="store_true", help="write the section only")
    parser.add_argument("--check", action="store_true", help="look whether it is written")
    try:
        return parser.parse_args()
    except SystemExit as left:
        sys.exit(int(ExitCode.USAGE) if left.code else 0)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, found {text!r}")
    return int(text)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
