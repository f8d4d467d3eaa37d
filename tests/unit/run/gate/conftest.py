"""Gates whose stages are judged by what is here already."""

from __future__ import annotations

import pytest
from gates import JUDGE

from faultload.run.gate import looks


@pytest.fixture(autouse=True)
def _judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge stages by the pooled test."""
    monkeypatch.setattr(looks, "_judge", JUDGE)
