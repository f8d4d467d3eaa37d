"""Settings for every test."""

from __future__ import annotations

import pytest
from hypothesis import settings

# The default deadline of 200 ms would make a slow machine a failing test.
settings.register_profile("faultload", deadline=None)
settings.load_profile("faultload")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests that ask for a fixture they cannot have, also those that `-m` will leave out.

    What only the full run sets up would break unseen when a fixture moves.
    """
    lost = [f"{item.nodeid}: {names}" for item in items if (names := _missing_fixtures(item))]
    if lost:
        raise pytest.UsageError("no such fixtures:\n  " + "\n  ".join(lost))


def _missing_fixtures(item: pytest.Item) -> list[str]:
    if not isinstance(item, pytest.Function):
        return []
    given = {"request", *item._fixtureinfo.name2fixturedefs}
    given |= set(item.callspec.params) if hasattr(item, "callspec") else set()
    return sorted(set(item.fixturenames) - given)
