"""The faults' reference page is what their docstrings say, and they say what a user must know."""

from __future__ import annotations

from pathlib import Path

import pytest

from faultload.faults import FAULTS
from faultload.faults.reference import IN_FORCE, REVERTED, describe, page


def test_the_page_is_what_the_command_writes(root: Path) -> None:
    """Whoever changes a fault's docstring or parameters makes the page again: `make reference`."""
    assert (root / "docs" / "faults.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_every_fault_says_what_proves_it_and_how_it_ends(name: str) -> None:
    """A paragraph for each, besides what it stands for; and every argument is explained."""
    found = describe(name)

    assert found.summary.endswith(".")
    stands_for, *_ = found.paragraphs
    assert not stands_for.startswith((IN_FORCE, REVERTED))
    for start in (IN_FORCE, REVERTED):
        assert [one for one in found.paragraphs if one.startswith(start)], start
    assert [one.name for one in found.parameters if not one.about] == []
