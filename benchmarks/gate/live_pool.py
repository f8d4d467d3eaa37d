"""The pool of real trials that `live.py` measures: benchmarks/data/gate-live.json."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faultload.judge.rows import Floats, Rows
from faultload.judge.trial import Measured

POOL = Path(__file__).parents[1] / "data" / "gate-live.json"
ARMS = ("a", "a again", "slower")
"""Two platforms of one configuration, and one whose decode takes 20 % longer."""
CASES = {"A against A again": "a again", "both mixed": "", "A against slower": "slower"}
"""What is compared in a drawn gate → the arm that is compared with `a`; "": both sides are drawn
from the trials of `a` and `a again` together, so that nothing but noise tells them apart."""
WHOLE = "whole gate"
"""All SLIs of a gate, beside the names of each."""
SHARES = (np.arange(25) + 0.5) / 25
"""Which quantiles of a trial's requests are kept: 2 %, 6 % … 98 %."""
_DIGITS = 6


@dataclass(frozen=True)
class Opening:
    """Platforms that were started together.

    Attributes:
        begun: ISO 8601, UTC.
        commit: what ran; with a `+` where the working tree was not that.
        machine: its CPUs and Python.
        load_average: of the last minute, before the platforms were started.
    """

    begun: str
    commit: str
    machine: Mapping[str, object]
    load_average: float


@dataclass(frozen=True)
class Kept:
    """One trial, spoilt or not.

    Attributes:
        arm: one of `ARMS`.
        trace: which was played.
        turn: which turn over all traces it belongs to, from 1.
        opening: whose platforms they were, from 1.
        begun: ISO 8601, UTC.
        length_s: with its start and its end.
        requests: that were sent and measured.
        problems: why it is spoilt; empty: it is not.
        numbers: SLI → its number; NaN: too few requests to tell.
        ttft_ms, tpot_ms: quantiles at `SHARES` of the requests that were answered.
    """

    arm: str
    trace: str
    turn: int
    opening: int
    begun: str
    length_s: float
    requests: int
    problems: Sequence[str]
    numbers: Mapping[str, float]
    ttft_ms: Sequence[float]
    tpot_ms: Sequence[float]

    @property
    def measured(self) -> Measured:
        """What the gate reads."""
        return Measured(self.numbers, self.requests)


@dataclass
class Pool:
    """All that is kept.

    Attributes:
        settings: of all trials: scenario, rate, lengths, seed, traces, what the slower arm has.
        openings: in order.
        trials: in the order in which they ran.
    """

    settings: Mapping[str, object]
    openings: list[Opening] = field(default_factory=list)
    trials: list[Kept] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Pool:
        """Return what is kept."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            data["settings"],
            [Opening(**row) for row in data["openings"]],
            [
                Kept(**row | {"numbers": {k: _number(v) for k, v in row["numbers"].items()}})
                for row in data["trials"]
            ],
        )

    def write(self, path: Path) -> None:
        """Keep one line a trial; whoever reads meanwhile finds the old file or the new."""
        blocks = (
            f'"settings": {json.dumps(self.settings, indent=1)}',
            f'"openings": {_lines(map(asdict, self.openings))}',
            f'"trials": {_lines(map(_row, self.trials))}',
        )
        partial = path.with_suffix(".partial")
        partial.write_text("{" + ",\n".join(blocks) + "}\n", encoding="utf-8")
        partial.replace(path)

    def good(self) -> Iterator[Kept]:
        """Yield the trials that are not spoilt."""
        return (one for one in self.trials if not one.problems)

    def by_trace(self, arm: str) -> dict[str, list[Kept]]:
        """Return an arm's trials that are not spoilt, in order of time."""
        found: dict[str, list[Kept]] = {}
        for one in self.good():
            if one.arm == arm:
                found.setdefault(one.trace, []).append(one)
        return {trace: found[trace] for trace in sorted(found)}


def sha256(path: Path) -> str:
    """Return what tells one pool from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sketches(requests: pd.DataFrame, window_s: tuple[float, float]) -> dict[str, list[float]]:
    """Return `ttft_ms` and `tpot_ms` of a trial's rows; empty where nothing was answered."""
    inside = requests["due_s"].between(*window_s, inclusive="left")
    rows = Rows.of(requests[inside])
    several = rows.served & (rows.received > 1)
    tpot_s = (rows.last - rows.first)[several] / (rows.received - 1)[several]
    return {
        "ttft_ms": _quantiles_ms((rows.first - rows.due)[rows.served]),
        "tpot_ms": _quantiles_ms(tpot_s),
    }


def _quantiles_ms(values_s: Floats) -> list[float]:
    if not len(values_s):
        return []
    return [round(1000 * float(one), 2) for one in np.quantile(values_s, SHARES)]


def _row(kept: Kept) -> dict[str, Any]:
    numbers = {
        name: None if math.isnan(value) else round(value, _DIGITS)
        for name, value in kept.numbers.items()
    }
    return asdict(kept) | {"numbers": numbers}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _lines(rows: Any) -> str:
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"
