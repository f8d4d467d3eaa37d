"""The gate's tables in docs/statistics.md are those of the published data."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from faultload.judge.trial import slis_of
from faultload.run.gate.plan import ROUNDS, Mode

ROOT = Path(__file__).parents[2]
GATE = ROOT / "benchmarks" / "gate"


def test_the_tables_are_those_of_the_data() -> None:
    """`make bench-gate` writes data and tables together; neither is edited alone."""
    tables = _module("tables")
    data = json.loads((ROOT / "benchmarks" / "data" / "gate.json").read_text())

    assert tables.write(data, ROOT / "docs" / "statistics.md", only_check=True) == 0


def test_what_was_measured_is_what_ships() -> None:
    """Each mode's looks and trials, and each SLI's limits, are those that the data were made by."""
    data = json.loads((ROOT / "benchmarks" / "data" / "gate.json").read_text())
    plans = {
        f"{mode}{', history' if has_history else ''}": list(ROUNDS[mode.value, has_history])
        for mode in Mode
        for has_history in (False, True)
    }
    limits = {sli.name: (sli.effect_min, sli.tolerated) for sli in slis_of([])}

    assert data["plans"] == plans
    for name, sli in data["slis"].items():
        assert (sli["effect_min"], sli["tolerated"]) == limits[name]
    played = {(count["sli"], count["plan"]) for one in data["regimes"] for count in one["gates"]}
    assert played == {(name, plan) for name in data["slis"] for plan in plans}


def test_the_section_on_real_trials_is_that_of_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates are drawn from the pool as it is kept; without draws the page has no such section."""
    for name in ("tables", "live_pool"):  # which it takes from beside it
        monkeypatch.setitem(sys.modules, name, _module(name))

    assert _module("live_tables").write(only_check=True) == 0


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GATE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module
