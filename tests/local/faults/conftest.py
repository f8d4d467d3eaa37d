"""Single faults on one real local platform under load: it takes seconds to start, and is shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import QUICK, Live, is_whole, live
from projects import wait_for

from faultload.faults import FaultSession
from faultload.record import InjectionJournal
from faultload.targets import LocalTarget

# One that a test made the platform launch would stay for the next ones, with replicas on it.
_TWO_MACHINES = ("pools.spot-l4.nodes_max=0", "pools.on-demand-l4.nodes_max=0")


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Start one platform with a load for all tests in this folder."""
    with live(tmp_path_factory.mktemp("live"), (*QUICK, *_TWO_MACHINES)) as started:
        yield started


@pytest.fixture
def watched(shared: Live) -> Live:
    """Return it once every tier has what it is to have."""
    wait_for(lambda: is_whole(shared.target), 30, "two ready replicas in each tier")
    return shared


@pytest.fixture
def platform(watched: Live) -> LocalTarget:
    """Return the target alone."""
    return watched.target


@pytest.fixture
def session(platform: LocalTarget, tmp_path: Path) -> FaultSession:
    """Return a hold on it with an empty journal."""
    return FaultSession(platform, InjectionJournal(tmp_path / "injections.jsonl"))
