"""Burn-rate windows: when a burning error budget alerts, as data with its source."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from faultload.errors import SpecError
from faultload.spec.reading import Spec, parse, read_document
from faultload.spec.wording import found

WINDOWS_FILE = "windows.yaml"
"""Name of the file with the windows, among the SLO files of slos/."""

_DURATION = re.compile(r"([1-9]\d{0,5})([smhdw])\Z")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WINDOW_S_MAX = 31 * 86400


def _is_duration(value: str) -> str:
    match = _DURATION.match(value)
    if not match or int(match[1]) * _UNIT_S[match[2]] > _WINDOW_S_MAX:
        raise ValueError(
            f"expected a whole number and s, m, h, d or w, up to 31 days (1h), found {found(value)}"
        )
    return value


Duration = Annotated[str, AfterValidator(_is_duration)]
"""As Prometheus writes it, with one unit."""


def seconds_of(duration: str) -> int:
    """Return the length of a duration that was found right."""
    match = _DURATION.match(duration)
    assert match is not None  # noqa: S101  # the validator saw to it
    return int(match[1]) * _UNIT_S[match[2]]


class Window(Spec):
    """One pair of windows."""

    severity: Literal["page", "ticket"]
    """`page`: somebody must act now; `ticket`: somebody must act in working hours."""
    burn_rate: float = Field(gt=0, le=1000)
    """Alerts from this burn rate on; 1 spends the whole budget in exactly its period."""
    long: Duration
    """Over how long so much must have burned."""
    short: Duration
    """Over how long it must burn still."""

    @model_validator(mode="after")
    def _short_is_shorter(self) -> Window:
        if seconds_of(self.short) >= self.long_s:
            raise ValueError(
                f"expected `short` to be shorter than `long`, found {self.short} and {self.long}"
            )
        return self

    @property
    def long_s(self) -> int:
        """Length of the long window."""
        return seconds_of(self.long)

    def bad_ratio(self, budget: float) -> float:
        """Return the share of bad events at which it alerts, 0-1 where it can; `budget`: 0-1."""
        return self.burn_rate * budget

    def fires_after_s(self, budget: float, bad_ratio: float = 1.0) -> float:
        """Return how long a steady outage under steady traffic lasts until the alert.

        Args:
            budget: share of events that may be bad, 0-1; none were bad before the outage.
            bad_ratio: share of events that are bad during it; 1: a total outage.

        Returns:
            Seconds; infinite where the alert never comes, however long the outage.
        """
        needed = self.bad_ratio(budget)
        return self.long_s * needed / bad_ratio if needed < bad_ratio else math.inf


class BurnWindows(Spec):
    """Every window, and who says that these are good ones."""

    source: str = Field(min_length=1)
    runbook: str = Field(min_length=1)
    """What whoever is paged opens first: a path or an address; the alert's name is appended."""
    windows: list[Window] = Field(min_length=1, max_length=8)

    @field_validator("windows")
    @classmethod
    def _one_alert_each(cls, windows: list[Window]) -> list[Window]:
        longs = [window.long for window in windows]
        twice = next((long for long in longs if longs.count(long) > 1), None)
        if twice:
            raise ValueError(
                f"expected every `long` once, as alerts are named by it; found {twice} twice"
            )
        return windows

    @property
    def durations(self) -> list[str]:
        """Every length that a ratio is needed over, shortest first."""
        return sorted({d for w in self.windows for d in (w.long, w.short)}, key=seconds_of)


def load_windows(path: Path) -> BurnWindows:
    """Read a file of windows.

    Raises:
        SpecError: it is missing, or not one.
    """
    if not path.exists():
        raise SpecError(
            path, "", "no such file; it says when a burning budget alerts (docs/slos.md)"
        )
    return parse(BurnWindows, read_document(path), path)
