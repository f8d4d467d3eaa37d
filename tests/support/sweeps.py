"""Sweeps that take no time: platforms that are numbers, loads that are rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from fleets import NodeSeen, PodSeen, fleet_series
from scenes import rows

from faultload.errors import InvalidRunError
from faultload.record import REQUEST_SCHEMA, SERIES_SCHEMA, LoadSummary, write_table
from faultload.run.events import RunClock
from faultload.run.fault_free import FaultFreeRun, Played
from faultload.run.progress import Silent
from faultload.run.tune.conduct import Sweep
from faultload.run.tune.plan import Asked, TunePlan, prepare_tune
from faultload.spec import Catalogue
from faultload.targets.base import Endpoints, Identity

ROOT = Path(__file__).parents[2]
STEP_BASE_S, STEP_PER_SEQ_S = 0.008, 0.0005
"""Of the engines here: the knee is at 16."""


def sweep_plan(reports: Path, sizes: Sequence[int] = (4, 8, 16, 32, 64), **asked: Any) -> TunePlan:
    """Return the plan of a short sweep of the shipped local target, about one SLO."""
    short = {"slo": "fast-ttft", "for_s": 6.0, "warmup_s": 1.0}
    given = {"target": "local", "model": "chat-fast", "reports": reports, **short, **asked}
    return prepare_tune(Catalogue(ROOT), Asked(sizes=sizes, **given))


@dataclass
class Platforms:
    """Platforms in memory, one a setting.

    Attributes:
        spoil: changes what the client says of itself; by batch limit and attempt.
        fails: batch limits at which the load client dies.
        interrupt_at: a signal comes while this batch limit is measured; 0: none does.
        seats: what the platform says its batch limit is; by what was asked for.
        played: batch limits, in order.
        open_now: platforms that are up.
    """

    spoil: Callable[[int, int], dict[str, Any]] = lambda batch, attempt: {}
    fails: Sequence[int] = ()
    interrupt_at: int = 0
    seats: Callable[[int], int] = lambda batch: batch
    played: list[int] = field(default_factory=list)
    open_now: int = 0

    def sweep(self, plan: TunePlan) -> Sweep:
        """Return a sweep of these."""
        return Sweep(plan, Silent(), self.open, self.play)

    def open(self, plan: TunePlan, batch: int) -> Any:
        """Start one; two engines of the fast tier."""
        self.open_now += 1
        engine = {"max_num_seqs": self.seats(batch)}
        tiers = {"fast": {"model": plan.tier.model, "replicas": 2, "engine": engine}}
        return SimpleNamespace(
            identity=Identity("local", "local", f"f{batch}"),
            describe=lambda: {"config": {"tiers": tiers, "time_scale": 0.1}},
            endpoints=Endpoints("http://127.0.0.1:1", "http://127.0.0.1:1"),
            save_logs=lambda folder: folder.mkdir(parents=True),
            events=list,
            close=self._close,
        )

    def _close(self) -> None:
        self.open_now -= 1

    def play(self, plan: TunePlan, target: Any, run: FaultFreeRun, _: Any) -> Played:
        """Write the rows of a load that took no time: every seat of both engines is taken."""
        del target
        users = run.scenario.arrivals.steps[0].users  # type: ignore[union-attr]
        batch = users // 2
        self.played.append(batch)
        if batch == self.interrupt_at:
            raise KeyboardInterrupt
        if batch in self.fails:
            raise InvalidRunError("the load client died")
        step_s = STEP_BASE_S + STEP_PER_SEQ_S * batch
        due = np.arange(0.0, plan.end_s, (0.03 + 20 * step_s) / users)
        table = rows(due, tier="fast", model=plan.tier.model)
        first = due + 0.03 + step_s
        table = table.assign(
            first_token_s=first, last_token_s=first + 20 * step_s, end_s=first + 20 * step_s
        )
        write_table(table, REQUEST_SCHEMA, run.directory.requests)
        summary = LoadSummary(
            requests_due=len(due),
            requests_sent=len(due),
            rows=len(due),
            lag_s_p99=0.001,
            cpu_share_max=0.1,
            workers=1,
            loop="closed",
        ).model_copy(update=self.spoil(batch, self.played.count(batch)))
        clock = RunClock.starting_in(0.0)
        series = _series(plan, float(batch), clock.t0_unix_s)
        collector: Any = SimpleNamespace(finish=lambda _: series, warnings=[], close=lambda: None)
        return Played(summary, clock, collector=collector)


def _series(plan: TunePlan, batch: float, t0_unix_s: float) -> pd.DataFrame:
    pods = [PodSeen(name, busy=lambda _: True) for name in ("fast-0", "fast-1")]
    fleet = fleet_series(NodeSeen("a", pods=pods), end_s=plan.end_s, t0_unix_s=t0_unix_s)
    found = [
        ("vllm:num_requests_running", json.dumps({"model_name": plan.tier.model}), at, batch)
        for at in np.arange(0.5, plan.end_s, 1.0)
    ]
    return pd.concat([fleet, pd.DataFrame(found, columns=SERIES_SCHEMA.names)], ignore_index=True)
