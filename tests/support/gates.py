"""Gates that take no time: sides that are numbers, loads that are rows, a look that is today's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scenes import rows

from faultload.judge import GateResult, Verdict
from faultload.judge.trial import Sli
from faultload.load import read_trace
from faultload.record import REQUEST_SCHEMA, LoadSummary, write_table
from faultload.run.events import RunClock
from faultload.run.fault_free import FaultFreeRun, Played
from faultload.run.gate.plan import Asked, GatePlan, prepare_gate
from faultload.spec import Catalogue

ROOT = Path(__file__).parents[2]
_LATENCIES = np.random.default_rng(1).lognormal(0, 0.3, 1000)
_SCENARIO = """\
name: tiny
description: forty requests a second, each soon over
arrivals: {kind: constant, rate_rps: 40}
tiers:
  - tier: fast
    model: chat-fast
    weight: 1
    prompt_tokens: {median: 5}
    output_tokens: {median: 21}
timeouts: {connect_s: 1, first_token_s: 1, gap_s: 1, total_s: 1}
seed: 1
"""


@dataclass
class Bench:
    """Two sides in memory.

    Attributes:
        slower: how much slower than the baseline each side is, as a factor; by round.
        noise: sd of a trial's log latency.
        errors: share of requests that are refused, by side.
        tokens: that each answer has, by side; 21 are asked for, and delivered by others.
        spoil: turns what the client said of itself into something invalid; by side and attempt.
        environments: what each side says it is; may change between calls.
        gone: what opening both sides anew, to confirm a fail, ends with, try by try; then it works.
        played: side and trace of each load, in order.
        opened: how often the sides were opened; tries that failed do not count.
        open_now: sides that are open.
    """

    slower: Mapping[int, Mapping[str, float]]
    noise: float = 0.01
    errors: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    spoil: Callable[[str, int], dict[str, Any]] = lambda side, count: {}
    environments: Callable[[str, int], dict[str, str]] = lambda side, count: {"kind": "memory"}
    gone: list[Exception] = field(default_factory=list)
    played: list[tuple[str, str]] = field(default_factory=list)
    opened: int = 0
    open_now: int = 0
    asked: int = 0
    interrupt_at: int = 0

    @contextlib.contextmanager
    def opening(self, catalogue: Catalogue, specs: Sequence[Any], holder: str) -> Iterator[Any]:
        """Open both sides; they are closed when the block ends."""
        if self.opened and self.gone:
            raise self.gone.pop(0)
        self.opened += 1
        self.open_now += 1
        try:
            yield {spec.side: _Side(self, spec.side) for spec in specs}
        finally:
            self.open_now -= 1

    def play(self, trial: FaultFreeRun, _: Any) -> Played:
        """Write the rows of a load that took no time."""
        if self.interrupt_at and len(self.played) + 1 == self.interrupt_at:
            raise KeyboardInterrupt
        side = trial.url.rpartition("/")[2]
        self.played.append((side, trial.trace.stem))
        generator = np.random.default_rng([len(self.played), 7])
        asked = read_trace(trial.trace)
        asked = asked[asked["due_s"] < trial.end_s]
        due = asked["due_s"].to_numpy()
        # Every trial has the same distribution but for its side's factor and its own noise.
        base = np.quantile(_LATENCIES, generator.permutation(len(due)) / len(due))
        factor = self.slower[self.opened][side] * np.exp(generator.normal(0, self.noise))
        first = due + 0.05 * base * factor
        tokens = self.tokens.get(side, 21)
        last = first + (tokens - 1) * 0.01 * factor
        bad = generator.random(len(due)) < self.errors.get(side, 0.0)
        table = rows(due, bad).assign(tier=asked["tier"].to_numpy())
        table = table.assign(
            first_token_s=np.where(bad, np.nan, first),
            last_token_s=np.where(bad, np.nan, last),
            end_s=np.where(bad, due + 0.01, last),
            output_tokens=np.where(bad, 0, tokens),
        )
        write_table(table, REQUEST_SCHEMA, trial.directory.requests)
        count = self.played.count(self.played[-1])
        summary = LoadSummary(
            requests_due=len(due),
            requests_sent=len(due),
            rows=len(due),
            lag_s_p99=0.001,
            cpu_share_max=0.1,
            workers=1,
            loop="open",
        ).model_copy(update=self.spoil(side, count))
        return Played(summary, RunClock(1_700_000_000.0, 0.0))


@dataclass
class _Side:
    bench: Bench
    name: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:1/{self.name}"

    def environment(self) -> dict[str, str]:
        self.bench.asked += 1
        return self.bench.environments(self.name, self.bench.asked)


def make_catalogue(folder: Path) -> Catalogue:
    """Return a project with our targets and SLOs and a tiny scenario."""
    if not (folder / "scenarios").exists():
        (folder / "experiments").mkdir(parents=True)
        (folder / "scenarios").mkdir()
        (folder / "scenarios" / "tiny.yaml").write_text(_SCENARIO, encoding="utf-8")
        for name in ("slos", "targets", "platform"):
            (folder / name).symlink_to(ROOT / name)
    return Catalogue(folder)


def threshold(
    sli: Sli,
    baseline: Mapping[str, Sequence[float]],
    candidate: Mapping[str, Sequence[float]],
    *,
    stage: int,
    stages: int,
    requests: int,
    history: Mapping[str, Sequence[float]] | None,
) -> GateResult:
    """Fail from 20 % worse on, pass below 10 %: a gate that needs no more than a trial a side."""
    del stage, stages, requests, history
    above = 1 if sli.is_share else 0
    old, new = (
        np.mean([sli.worse_is_larger(one) + above for own in side.values() for one in own])
        for side in (baseline, candidate)
    )
    worse = float(new / old - 1)
    verdict = Verdict.FAIL if worse > 0.2 else Verdict.PASS if worse < 0.1 else None
    needed, bounds = (0 if verdict else 3), (worse - 0.01, worse + 0.01)
    text = f"Worse by {worse:.1%}."
    return GateResult(
        verdict or Verdict.INCONCLUSIVE, text, worse, 0.5, bounds, 0.05, trials_needed=needed
    )


@cache
def _plan_in(folder: Path, changes: frozenset[tuple[str, Any]]) -> GatePlan:
    asked: dict[str, Any] = {
        "baseline": "http://127.0.0.1:1",
        "candidate": "http://127.0.0.1:2",
        "scenario": "tiny",
        "slos": ("fast-ttft",),
        "traces": 1,
        "trial_s": 1.5,
        "warmup_s": 0.5,
        "cooldown_s": 0.0,
        "repeat": "faultload gate",
        "has_history": True,
    }
    return prepare_gate(make_catalogue(folder), Asked(**(asked | dict(changes))))


def planned(folder: Path, **changes: Any) -> GatePlan:
    """Return the plan of a small gate; its reports go to `folder`."""
    plan = _plan_in(folder.parent / "project", frozenset(changes.items()))
    return replace(plan, reports=folder)
