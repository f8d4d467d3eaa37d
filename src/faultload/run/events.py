"""events.jsonl: what the harness did and what the platform said, on one clock."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.record import Tail
from faultload.secrecy import redacted_data


@dataclass(frozen=True)
class RunClock:
    """Seconds since the run's start, from the monotonic clock; the wall clock only names t0."""

    t0_unix_s: float
    t0_monotonic_s: float

    @classmethod
    def starting_in(cls, lead_s: float) -> RunClock:
        """Return a clock whose zero is `lead_s` from now."""
        return cls(time.time() + lead_s, time.monotonic() + lead_s)

    def now_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.t0_monotonic_s

    def wall_drift_s(self) -> float:
        """How far the wall clock has moved against the monotonic one since the start."""
        return (time.time() - self.t0_unix_s) - self.now_s()


class EventLog:
    """Appends events; times before the clock was set are negative or zero."""

    def __init__(self, path: Path) -> None:
        """Append to `path`."""
        self._path = path
        self._torn = ""

    def add(self, t_s: float, source: str, kind: str, text: str, **data: Any) -> None:
        """Write one event; `text` and `data` are redacted, the rest is for machines.

        Args:
            t_s: seconds since the run's start.
            source: `harness`, `fault`, `platform`, `load` or `judge`.
            kind: one word.
            text: one sentence.
            data: numbers behind it, JSON.
        """
        event = {"t_s": round(t_s, 4), "source": source, "kind": kind}
        line = self._torn + json.dumps(event | redacted_data({"text": text, "data": data})) + "\n"
        self._torn = "\n"  # a full disk may take a part of it: the next one is to stand alone
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)
        self._torn = ""


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines in order of time; none when the file is missing."""
    return sorted(Tail(path).read(), key=lambda event: float(event["t_s"]))
