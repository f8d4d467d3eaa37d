"""The scales on which trials are compared: where noise is alike on both sides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from faultload.judge.rows import Floats


class Transform(StrEnum):
    """What kind of number a trial has."""

    LOG = "log"
    """A positive number; effects are relative to the baseline, 0.1 = 10 % more."""
    RATIO = "ratio"
    """A share of bad events, 0-1; effects are differences of shares, 0.01 = a percentage point."""


@dataclass(frozen=True)
class Scale:
    """Numbers and effects to and fro.

    Attributes:
        transform: the kind of number.
        base: the baseline's level, which says how much a point is on the scale of shares.
        offset: added before logarithms are taken.
    """

    transform: Transform
    base: float = 0.0
    offset: float = 0.0

    def holds(self, numbers: Floats) -> bool:
        """Return whether all are finite and in the transform's domain."""
        if self.transform is Transform.RATIO:
            return bool(((numbers >= 0) & (numbers <= 1)).all())
        return bool((np.isfinite(numbers) & (numbers + self.offset > 0)).all())

    def on(self, numbers: Floats) -> Floats:
        """Return numbers on this scale."""
        if self.transform is Transform.RATIO:
            return np.arcsin(np.sqrt(numbers))
        return np.log(numbers + self.offset)

    def shift(self, effect: float) -> float:
        """Return how far a worsening moves a number on this scale."""
        if self.transform is Transform.RATIO:
            return self._angle(self.base + effect) - self._angle(self.base)
        return math.log1p(effect)

    def effect(self, shift: float) -> float:
        """Return the worsening that moves a number so far; the way back from `shift`."""
        if self.transform is Transform.RATIO:
            angle = min(max(self._angle(self.base) + shift, 0.0), math.pi / 2)
            return math.sin(angle) ** 2 - self.base
        # A bound that so few trials leave open is infinite.
        return math.expm1(min(shift, 700.0)) if shift < math.inf else math.inf

    def said(self, effect: float) -> str:
        """Put an effect in words."""
        if self.transform is Transform.RATIO:
            return f"{100 * effect:.2f} points"
        return f"{effect:.1%}"

    @staticmethod
    def _angle(share: float) -> float:
        return math.asin(math.sqrt(min(max(share, 0.0), 1.0)))
