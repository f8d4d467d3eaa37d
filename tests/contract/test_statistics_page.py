"""The gate's tables in docs/statistics.md are those of the published data."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
GATE = ROOT / "benchmarks" / "gate"


def test_the_tables_are_those_of_the_data() -> None:
    """`make bench-gate` writes data and tables together; neither is edited alone."""
    tables = _module("tables")
    data = json.loads((ROOT / "benchmarks" / "data" / "gate.json").read_text())

    assert tables.write(data, ROOT / "docs" / "statistics.md", only_check=True) == 0


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
