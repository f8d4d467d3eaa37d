"""The gate's tables in docs/statistics.md are those of the published data."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from faultload.judge.trial import slis_of
from faultload.run.gate.plan import ROUNDS, Mode

ROOT = Path(__file__).parents[2]


def test_the_tables_are_those_of_the_data() -> None:
    """`make bench-gate` writes data and tables together; neither is edited alone."""
    path = ROOT / "benchmarks" / "gate" / "tables.py"
    spec = importlib.util.spec_from_file_location("gate_tables", path)
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
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
