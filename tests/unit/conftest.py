"""What holds for every unit test."""

from __future__ import annotations

import pytest

from faultload import secrecy


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test hide words from the next one: what one registers is a secret there alone."""
    known = secrecy._Registry()
    known.kept = secrecy._REGISTRY.kept
    monkeypatch.setattr(secrecy, "_REGISTRY", known)
