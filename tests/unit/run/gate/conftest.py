"""Gates whose stages are judged by what is here already."""

from __future__ import annotations

import pytest
from gates import JUDGE

from faultload.run.gate import looks


@pytest.fixture(autouse=True)
def _judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge stages by the pooled test."""
    for name, double in vars(JUDGE).items():
        monkeypatch.setattr(looks, name, double)
