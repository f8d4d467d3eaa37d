"""The gate's tables in docs/statistics.md are those of the published data."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

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
