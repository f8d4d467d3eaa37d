"""A local platform under load, watched as its users and its operators do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import requests
from projects import ROOT, wait_for

from faultload.load import LoadGenerator, make_trace, write_trace
from faultload.record import read_live_rows
from faultload.spec import LocalTargetSpec, load_scenario, load_target
from faultload.targets import LocalTarget

_LOAD_S = 1800.0

QUICK = (
    "cold_start_s=5",
    "model_store.enabled=false",
    "restart.backoff_s=1",
    "node_life.lost_after_s=10",
    "node_life.launch_s=10",
    "node_life.image_pull_s=0",
    "prometheus.scrape_interval_s=0.5",
)
"""The shipped platform, quicker: a replacement is there in a second or two, a machine in three."""


@dataclass(frozen=True)
class Live:
    """A platform, and where the rows of its load are.

    Attributes:
        target: the platform.
        work: folder with the load's live rows.
        t0_unix_s: the load's start, from which the rows' seconds count.
    """

    target: LocalTarget
    work: Path
    t0_unix_s: float

    def now_s(self) -> float:
        """Return the time as rows have it."""
        return time.time() - self.t0_unix_s

    def rows(self, since_s: float = 0.0) -> pd.DataFrame:
        """Return the requests that were due after `since_s` and have ended."""
        rows = read_live_rows(self.work)
        return rows[rows["due_s"] >= since_s]

    def wait_for_rows(
        self,
        holds: Callable[[pd.DataFrame], object],
        what: str,
        since_s: float,
        timeout_s: float = 20.0,
    ) -> None:
        """Wait until the requests due after `since_s` show something."""
        wait_for(lambda: holds(self.rows(since_s)), timeout_s, what)

    def query(self, promql: str) -> float | None:
        """Return the sum of what Prometheus answers; None: no series, or no Prometheus."""
        with requests.Session() as http:
            http.trust_env = False
            url = f"{self.target.endpoints.prometheus_url}/api/v1/query"
            try:
                answer = http.get(url, params={"query": promql}, timeout=5).json()
            except requests.RequestException:
                return None
        found = [float(one["value"][1]) for one in answer["data"]["result"]]
        return sum(found) if found else None

    def wait_for_query(
        self, promql: str, holds: Callable[[float], object], timeout_s: float = 20.0
    ) -> None:
        """Wait until Prometheus shows something."""

        def look() -> object:
            found = self.query(promql)
            return found is not None and holds(found)

        wait_for(look, timeout_s, f"{promql} to be so")


@contextmanager
def live(folder: Path, overrides: Sequence[str], rate_rps: float = 12.0) -> Iterator[Live]:
    """Start the shipped platform with `overrides`, and chat-steady at `rate_rps` on it."""
    path = ROOT / "targets" / "local.yaml"
    spec = load_target(path)
    assert isinstance(spec, LocalTargetSpec)
    scenario = load_scenario(ROOT / "scenarios" / "chat-steady.yaml")
    arrivals = scenario.arrivals.model_copy(update={"rate_rps": rate_rps})
    scenario = scenario.model_copy(update={"arrivals": arrivals})
    write_trace(make_trace(scenario, _LOAD_S, scenario.seed, folder), folder / "trace.parquet")
    target = LocalTarget.start(spec, path, overrides)
    try:
        url = target.endpoints.inference_url
        load = LoadGenerator(folder / "trace.parquet", scenario, url, folder, folder)
        load.start()
        try:
            load.wait_ready(30.0)
            t0_unix_s = time.time()
            load.go(t0_unix_s)
            yield Live(target, folder, t0_unix_s)
        finally:
            load.stop(0.0)
    finally:
        target.close()


def is_whole(target: LocalTarget, replicas: int = 2) -> bool:
    """Say whether every tier is to have so many replicas and has them, all ready."""
    ready = [one for one in target.replicas("engine") if one.ready]
    return all(
        sum(one.tier == workload.tier for one in ready) == workload.wanted == replicas
        for workload in target.workloads("engine", None)
    )
