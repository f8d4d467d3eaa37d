"""The longest time of an answer, which passes when a test says so and depends on no clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

# What to give as `answer_timeout_s`: longer than any test.
ALLOWED_S = 1234.0
Expire = Callable[[], int]


def expiring(monkeypatch: pytest.MonkeyPatch) -> Expire:
    """Return what makes ALLOWED_S pass at once for all answers so far, and says how many."""
    real, begun = asyncio.timeout, []

    def timeout(delay_s: float | None) -> asyncio.Timeout:
        one = real(delay_s)
        if delay_s == ALLOWED_S:
            begun.append(one)
        return one

    def now() -> int:
        for one in begun:
            one.reschedule(asyncio.get_running_loop().time())
        return len(begun)

    monkeypatch.setattr(asyncio, "timeout", timeout)
    return now
