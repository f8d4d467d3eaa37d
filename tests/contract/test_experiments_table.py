"""The table of experiments is what `make catalogue` makes of the results that are kept."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from faultload.spec import Catalogue, load_experiment


def test_table_of_experiments_is_in_step(root: Path) -> None:
    """Every experiment has its row, measured or not, and no row says more than the results do."""
    spec = importlib.util.spec_from_file_location("catalogue", root / "scripts" / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    catalogue = importlib.util.module_from_spec(spec)
    sys.modules["catalogue"] = catalogue  # dataclasses look their module up
    spec.loader.exec_module(catalogue)
    experiments = [load_experiment(path) for path in Catalogue(root).experiment_paths()]
    singles = [name for name in catalogue.misconfigurations() if name != catalogue.ALL]

    table = catalogue.TABLE.read_text(encoding="utf-8")

    remedy = "run: make catalogue CATALOGUE_ARGS=--render"
    assert all(f"../experiments/{one.name}.yaml" in table for one in experiments), remedy
    assert table == catalogue.render(experiments, catalogue.read(), singles), remedy
