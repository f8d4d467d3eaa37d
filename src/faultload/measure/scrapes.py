"""When Prometheus asked whom, and who answered: what tells a counter's birth from lost samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

SLACK = 2.5
"""Usual distances between samples: what lies further from an edge says nothing of it."""


@dataclass(frozen=True)
class _Target:
    """One target: the labels that all its series bear, when it was asked, and if it answered."""

    labels: frozenset[tuple[str, str]]
    at_s: Floats
    answered: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scrapes:
    """Every scrape of a run, as `up` has them.

    Attributes:
        targets: those with the most labels first.
        at_s: when anybody was asked, ascending.
    """

    targets: Sequence[_Target]
    at_s: Floats

    @classmethod
    def of(cls, series: pd.DataFrame) -> Scrapes:
        """Read them from rows in the record's series schema; without `up` there are none."""
        rows = series[series["series"] == "up"].sort_values("t_s", kind="stable")
        targets = []
        for encoded, group in rows.groupby("labels", sort=True):
            labels = frozenset(json.loads(str(encoded)).items())
            answered = group["value"].to_numpy(dtype=np.float64) > 0
            targets.append(_Target(labels, group["t_s"].to_numpy(dtype=np.float64), answered))
        targets.sort(key=lambda one: -len(one.labels))
        return cls(targets, np.unique(rows["t_s"].to_numpy(dtype=np.float64)))

    def went_on(self, from_s: float, to_s: float) -> bool:
        """Tell whether Prometheus asked anybody in this time."""
        return bool(((self.at_s >= from_s) & (self.at_s <= to_s)).any())

    def without(self, labels: Mapping[str, str], at_s: Floats) -> Floats:
        """Return when it is certain that a counter had counted nothing, ascending.

        Its target answered without it: a process shows what it counted since its start. Or its
        target was new, and had not answered yet: Prometheus had asked others and not known it.

        Args:
            labels: of the counter.
            at_s: when it has samples, ascending.
        """
        own = labels.items()
        target = next((one for one in self.targets if one.labels <= own), None)
        if target is None:
            return np.empty(0)
        usual_s = usual(at_s if len(at_s) > 1 else target.at_s)
        answers = target.at_s[target.answered]
        place = np.searchsorted(at_s, answers)
        padded = np.concatenate([[-np.inf], at_s, [np.inf]])
        beside = np.minimum(answers - padded[place], padded[place + 1] - answers)
        return np.concatenate([self._before(target, usual_s), answers[beside > usual_s / 2]])

    def _before(self, target: _Target, usual_s: float) -> Floats:
        """Return when a target of a new process was not there, or did not answer yet."""
        others = self.at_s[self.at_s < target.at_s[0]]
        if not len(others) or others[-1] - self.at_s[0] <= SLACK * usual_s:
            return np.empty(0)  # it may have been there before anybody looked
        answer_s = min(target.at_s[target.answered], default=np.inf)
        return np.concatenate([others[-1:], target.at_s[target.at_s < answer_s]])


def usual(at_s: Floats) -> float:
    """Return the usual distance between samples, s; 0 where there are not two."""
    return float(np.median(np.diff(at_s))) if len(at_s) > 1 else 0.0
