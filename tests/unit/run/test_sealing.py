"""What a run's collector asks for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faultload.measure import catalogue_of
from faultload.run import sealing
from faultload.run.events import RunClock
from faultload.spec import load_target

ROOT = Path(__file__).parents[3]


def test_a_run_collects_the_series_of_its_own_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster: of its namespaces, with rates over as many scrapes as they take."""
    asked: list[Any] = []

    def collector(*arguments: Any) -> Any:
        asked.extend(arguments)
        return SimpleNamespace(start=lambda: None)

    monkeypatch.setattr(sealing, "Collector", collector)
    target = load_target(ROOT / "targets/staging.example.yaml")
    at = SimpleNamespace(prometheus_url="http://127.0.0.1:9", prometheus_headers=dict)

    live: Any = SimpleNamespace(endpoints=at)
    sealing.begin_collecting(target, live, RunClock.starting_in(0.0))

    assert asked[1] == catalogue_of(target)
    assert asked[4] == target.scrape_interval_s
