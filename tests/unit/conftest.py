"""Unit tests: `FAULTLOAD_TESTS=full` adds those marked `full`, which only CI has the time for."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `full`, unless that is asked for."""
    if os.environ.get("FAULTLOAD_TESTS") == "full":
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
