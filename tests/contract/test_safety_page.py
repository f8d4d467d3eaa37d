"""docs/safety.md promises only what a test shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = sorted(
    set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/safety.md").read_text()))
)


@pytest.mark.parametrize(("file", "test"), NAMED, ids=["::".join(one) for one in NAMED])
def test_every_test_that_safety_is_shown_by_exists(file: str, test: str) -> None:
    """A promise whose test was renamed or deleted is nobody's any more."""
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"def {test}\(" if test else r"def test_", text), f"{file} has no {test}"


def test_every_promise_names_what_shows_it() -> None:
    """A row without a test is a wish."""
    promises, _, _ = (ROOT / "docs/safety.md").read_text().partition("## What was measured")
    rows = [
        row
        for row in promises.splitlines()
        if row.startswith("| ") and not row.startswith(("| promise", "| what"))
    ]
    assert len(rows) > 30
    assert [row for row in rows if "`tests/" not in row and "`make " not in row] == []
