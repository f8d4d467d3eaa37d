"""Asking for evictions until they are granted, as the Eviction API wants it: refused, ask again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from faultload.errors import FaultError
from faultload.faults.proofs import pause_s
from faultload.faults.protocol import Evidence
from faultload.targets import Refusal, Target


@dataclass
class Asking:
    """The evictions of one injection.

    Attributes:
        refusals: how often each (replica, reason) was heard.
    """

    target: Target
    timeout_s: float
    refusals: dict[tuple[str, str], int] = field(default_factory=dict)
    _start_s: float = 0.0
    _not_before_s: dict[str, float] = field(default_factory=dict)
    _last: str = ""

    def begin(self) -> None:
        """Let the time run from now."""
        self._start_s = time.monotonic()

    def ask(self, name: str, uid: str) -> bool:
        """Ask once, unless its last refusal said to wait still; say whether it was granted."""
        now_s = time.monotonic()
        if now_s < self._not_before_s.get(name, 0.0):
            return False
        refusal = self.target.evict_replica(name, uid)
        if refusal is None:
            return True
        self._note(name, refusal)
        return False

    def pause(self, waits_for: str) -> None:
        """Let a moment pass before the next round.

        Raises:
            FaultError: the time is up; quotes the last refusal.
        """
        waited_s = time.monotonic() - self._start_s
        if waited_s >= self.timeout_s:
            heard = f"; {self._last}" if self._last else "; none was refused"
            raise FaultError(f"{waits_for} within {self.timeout_s:g} s{heard}")
        time.sleep(pause_s(waited_s))

    def evidence(self, seen: Evidence) -> Evidence:
        """Return what was seen, with how often and why evictions were refused meanwhile."""
        if not self.refusals:
            return seen
        said = "; ".join(
            f"{name} was refused {count} time(s): {reason}"
            for (name, reason), count in self.refusals.items()
        )
        rows: list[dict[str, Any]] = [
            {"replica": name, "reason": reason, "times": count}
            for (name, reason), count in self.refusals.items()
        ]
        return Evidence(f"{seen.text}; {said}", {**seen.data, "refusals": rows})

    def _note(self, name: str, refusal: Refusal) -> None:
        self._not_before_s[name] = time.monotonic() + refusal.retry_after_s
        key = (name, refusal.reason)
        self.refusals[key] = self.refusals.get(key, 0) + 1
        total = sum(self.refusals.values())
        self._last = f"refused {total} time(s), last for {name}: {refusal.reason}"
