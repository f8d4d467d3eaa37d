"""What `make bench-safety` draws, keeps and says; what it plays is tried by playing it."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import local_snapshot
import pytest

from faultload.errors import UsageError
from faultload.spec import Catalogue

ROOT = Path(__file__).parents[3]
GOOD = "hang_engine:injected:supervisor"


@pytest.fixture(scope="module")
def crashes() -> ModuleType:
    """The benchmark as a module."""
    path = ROOT / "benchmarks" / "safety" / "crashes.py"
    spec = importlib.util.spec_from_file_location("crashes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["crashes"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def drawn(crashes: ModuleType, **options: Any) -> list[str]:
    """Return the names of what is drawn."""
    given = argparse.Namespace(**{"only": None, "sample": None, "seed": "", **options})
    return [str(case) for case in crashes.draw(given, crashes.uses(Catalogue(ROOT)))]


def test_a_seed_draws_the_same_sample_and_another_another(crashes: ModuleType) -> None:
    """A build that failed can be repeated, and builds do not all try the same; one runs whole."""
    first = drawn(crashes, sample=20, seed="a-commit")

    assert first == drawn(crashes, sample=20, seed="a-commit")
    assert first != drawn(crashes, sample=20, seed="another")
    assert sum(name.endswith(":run") for name in first) == 1
    assert len(set(first)) == 21


def test_all_is_everything_once(crashes: ModuleType) -> None:
    """Without a sample no case is left out or played twice."""
    names = drawn(crashes)

    light = [name for name in names if not name.endswith(":run")]
    assert light == [str(case) for case in crashes.cases()]
    assert len(set(names)) == len(names)


def test_an_unknown_case_is_refused_with_the_nearest(crashes: ModuleType) -> None:
    """One line, and what was probably meant."""
    with pytest.raises(UsageError, match=GOOD):
        drawn(crashes, only=["hang_engine:injected:supervisors"])


def test_what_is_kept_is_read_again_in_order(crashes: ModuleType, tmp_path: Path) -> None:
    """One line a case; a case that is no more is left out."""
    rows = [
        crashes.Kept("gone:injected:child", [], 1.0, "2026-01-01", "abc"),
        crashes.Kept("slow_gpu:planned:child", ["it said: no"], 2.5, "2026-01-01", "abc+"),
        crashes.Kept(GOOD, [], 3.0, "2026-01-01", "abc"),
    ]
    path = tmp_path / "crashes.json"

    crashes.write({row.case: row for row in rows}, path)

    assert list(crashes.read(path).values()) == [rows[2], rows[1]]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4


def test_the_table_counts_what_was_as_before_and_shows_what_was_not(crashes: ModuleType) -> None:
    """A cell holds every case of a fault at a step; one that was not tried is empty."""
    results = [
        crashes.Result(GOOD),
        crashes.Result("hang_engine:injected:child"),
        crashes.Result("hang_engine:reverted:child", ["not as before"]),
    ]

    head, row = crashes.table(results)

    cells = dict(
        zip(head.split(), row.replace(" ok", "_ok").replace(" F", "_F").split(), strict=True)
    )
    assert (cells["injected"], cells["reverted"]) == ("2_ok", "1_FAILED")
    assert cells["planned"] == "-"


def test_a_snapshot_compares_all_but_what_is_another_for_good() -> None:
    """A token may take up to twice as long: more is a slow-down, and none at all is worse."""
    time_key = ("seconds for a token", "fast")
    before = {("tier", "fast"): {"revision": "1", "wanted": 2}, time_key: [0.01, 0.012]}

    def changed(**changes: Any) -> list[str]:
        times_s = changes.pop("times_s", [0.02, 0.01])
        after = {("tier", "fast"): {"revision": "1", "wanted": 2, **changes}, time_key: times_s}
        return local_snapshot.changes(before, after, {"tier": ("revision",)})

    assert changed() == []
    assert changed(revision="2") == []
    assert len(changed(wanted=1)) == 1
    assert len(changed(times_s=[0.02, 0.03])) == 1
    assert len(changed(times_s=[0.02, None])) == 1
