"""From a stored run to its evidence."""

from __future__ import annotations

import pytest

from faultload.measure import CATALOGUE
from faultload.run.judging import declared_gaps


@pytest.mark.parametrize(
    ("declared", "found", "absent"),
    [
        (["*"], {entry.name for entry in CATALOGUE}, set()),
        (["vllm:*"], {"vllm:num_requests_running", "vllm:*"}, {"up"}),
        (["up", "no_such_series"], {"up", "no_such_series"}, {"vllm:num_requests_running"}),
        ([], set(), {"up"}),
    ],
)
def test_gaps_are_names_or_patterns(declared: list[str], found: set[str], absent: set[str]) -> None:
    """A star is all that we collect; a name that we do not collect stays, for SLOs that use it."""
    gaps = set(declared_gaps(declared))

    assert found <= gaps
    assert not absent & gaps
