"""A gate before it starts: files read, traces made, the order of trials settled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from faultload.errors import UsageError, all_or_none
from faultload.judge.trial import Sli, slis_of
from faultload.load import check_recording, check_size, make_trace, write_trace
from faultload.load.arrivals import expected_requests
from faultload.load.trace import read_recorded
from faultload.record.gate import SideName
from faultload.run.gate.sides import SideSpec, read_side
from faultload.spec import SLO, Catalogue, Scenario
from faultload.spec.scenario import ClosedArrivals, TraceArrivals
from faultload.spec.slo import RequestsSource

TRACES = 5
# Without a history the first look needs two trials a trace and side: one each says nothing about
# how much trials differ, and a look that can decide nothing would still cost its share of alpha.
ROUNDS = {
    ("quick", True): (1, 1),
    ("quick", False): (2,),
    ("full", True): (1, 1, 1),
    ("full", False): (2, 1),
}
# Against a stored baseline the candidate alone is run: the time of both sides is all its own.
_ROUNDS_ALONE = {"quick": (2,), "full": (4,)}
REQUESTS = 1000
"""What a trial needs for its p95 (docs/statistics.md)."""
WARMUP_S = 10.0
COOLDOWN_S = 2.0
_TRIAL_S_MIN, _TRIAL_S_MAX = 5.0, 600.0
_ENDS_S = 2.0
"""What starting and stopping the load takes, about."""


class Mode(StrEnum):
    """How much a gate may spend."""

    QUICK = "quick"
    """Up to twenty trials, for a pull request."""
    FULL = "full"
    """Up to thirty trials and three looks, for a night."""


@dataclass(frozen=True)
class GatePlan:
    """What one gate will do.

    Attributes:
        catalogue: where names are looked up.
        scenario, scenario_path, slos: as read.
        sides: baseline and candidate; only the candidate where it is held against stored numbers.
        seed: of the traces and of which side goes first.
        traces: how many.
        warmup_s, trial_s: load that is dropped, and load that is measured, in each trial.
        cooldown_s: between two trials.
        rounds: how often each side plays each trace in each stage.
        mode: as asked for.
        confirm: a fail needs a fresh repetition that fails, too.
        reports: where the gate's directory goes.
        repeat: the command that repeats it.
    """

    catalogue: Catalogue
    scenario: Scenario
    scenario_path: Path
    slos: Sequence[SLO]
    sides: Mapping[SideName, SideSpec]
    seed: int
    traces: int
    warmup_s: float
    trial_s: float
    cooldown_s: float
    rounds: tuple[int, ...]
    mode: Mode
    confirm: bool
    reports: Path
    repeat: str

    @property
    def slis(self) -> list[Sli]:
        """What is compared."""
        return slis_of(self.slos)

    @property
    def trace_names(self) -> list[str]:
        """In order."""
        return [f"t{number + 1}" for number in range(self.traces)]

    @property
    def end_s(self) -> float:
        """Of what is measured in a trial, since its start."""
        return self.warmup_s + self.trial_s

    @property
    def stages(self) -> int:
        """How many there may be."""
        return len(self.rounds)

    def stage_s(self, stage: int) -> float:
        """Return about how long a stage takes."""
        trials = len(self.sides) * self.traces * self.rounds[stage - 1]
        return trials * (self.end_s + self.cooldown_s + _ENDS_S)

    @property
    def summary(self) -> str:
        """What will be done and how long that takes, in a sentence."""
        most_s = sum(map(self.stage_s, range(1, self.stages + 1)))
        first = f", {self.stage_s(1) / 60:.1f} until the first look" if self.stages > 1 else ""
        again = ", and as much again to confirm a fail" if self.confirm else ""
        against = "both sides" if len(self.sides) > 1 else "the candidate alone"
        return (
            f"{self.traces} traces of {self.scenario.name} ({self.warmup_s:g} s dropped,"
            f" {self.trial_s:g} s measured), each played against {against}: at most about"
            f" {most_s / 60:.1f} minutes{first}{again}"
        )

    def order(self, stage: int) -> list[tuple[str, SideName]]:
        """Return the trials of a stage, interleaved: who goes first changes with every trace.

        And with every turn of all traces, so that over two of them each side went first in each
        trace: a target that gets slower by the hour hurts both sides alike.
        """
        trials: list[tuple[str, SideName]] = []
        before = sum(self.rounds[: stage - 1])
        for turn in range(before, before + self.rounds[stage - 1]):
            for number, trace in enumerate(self.trace_names):
                pair = list(self.sides)
                if (self.seed + turn + number) % 2:
                    pair.reverse()
                trials += [(trace, side) for side in pair]
        return trials

    def write_traces(self, folder: Path) -> dict[str, str]:
        """Write every trace; return its SHA-256 by name.

        Raises:
            UsageError: a recording is too short for so many.
        """
        found = {}
        for number, name in enumerate(self.trace_names):
            path = folder / f"{name}.parquet"
            write_trace(self._trace(number), path)
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def _trace(self, number: int) -> pd.DataFrame:
        # The load goes on until the last measured answer has come.
        length_s = self.end_s + self.scenario.timeouts.total_s
        if not isinstance(self.scenario.arrivals, TraceArrivals):
            return make_trace(self.scenario, length_s, self.seed + number)
        path = self.scenario_path.parent / self.scenario.arrivals.path
        whole, start_s = read_recorded(self.scenario, path), number * self.end_s
        due_s = whole["due_s"] - start_s
        piece = whole[(due_s >= 0) & (due_s < length_s)].reset_index(drop=True)
        piece = piece.assign(due_s=piece["due_s"] - start_s, index=range(len(piece)))
        if not ((piece["due_s"] >= self.warmup_s) & (piece["due_s"] < self.end_s)).any():
            raise UsageError(
                f"{path}: expected {self.traces} pieces of {self.end_s:g} s with requests in each,"
                f" found none in piece {number + 1}; ask for fewer --traces or a shorter --trial-s"
            )
        return piece


@dataclass(frozen=True)
class Asked:
    """What the command line says of a gate; None: the default of the target or the scenario."""

    baseline: str | None
    """None: stored numbers; the candidate alone is run."""
    candidate: str
    baseline_set: Sequence[str] = ()
    candidate_set: Sequence[str] = ()
    scenario: str = "chat-steady"
    slos: Sequence[str] = ()
    mode: Mode = Mode.QUICK
    confirm: bool = False
    has_history: bool = False
    traces: int = TRACES
    trial_s: float | None = None
    warmup_s: float | None = None
    cooldown_s: float | None = None
    seed: int | None = None
    load: Mapping[str, Any] | None = None
    reports: Path | None = None
    repeat: str = ""


def prepare_gate(catalogue: Catalogue, asked: Asked) -> GatePlan:
    """Read and check everything; nothing is started.

    Raises:
        FaultloadError: what is wrong, on every side of it.
    """
    scenario_path, scenario = catalogue.scenario(asked.scenario)
    if isinstance(scenario.arrivals, ClosedArrivals):
        raise UsageError(
            f"{scenario_path}: arrivals: expected an open loop, found a closed one: it asks a slow"
            " side less often, and the sides would not be asked the same"
        )
    check_recording(scenario, scenario_path)
    load = asked.load or {}
    named: dict[SideName, tuple[str, Sequence[str]]] = {}
    if asked.baseline is not None:
        named["baseline"] = (asked.baseline, asked.baseline_set)
    named["candidate"] = (asked.candidate, asked.candidate_set)
    sides = all_or_none(
        partial(read_side, catalogue, side, name, overrides, load=load)
        for side, (name, overrides) in named.items()
    )
    targets = [one.target for one in sides if one.target is not None]
    lengths = [one.phases for one in targets]
    trial_s = asked.trial_s or next((x.baseline_s for x in lengths if x.baseline_s), None)
    warmup_s = asked.warmup_s
    if warmup_s is None:
        warmup_s = max((x.warmup_s for x in lengths if x.warmup_s is not None), default=WARMUP_S)
    plan = GatePlan(
        catalogue=catalogue,
        scenario=scenario,
        scenario_path=scenario_path,
        slos=_slos(catalogue, asked.slos, scenario),
        sides={one.side: one for one in sides},
        seed=scenario.seed if asked.seed is None else asked.seed,
        traces=asked.traces,
        warmup_s=warmup_s,
        trial_s=trial_s or _long_enough(scenario),
        cooldown_s=COOLDOWN_S if asked.cooldown_s is None else asked.cooldown_s,
        rounds=ROUNDS[asked.mode.value, asked.has_history]
        if asked.baseline is not None
        else _ROUNDS_ALONE[asked.mode.value],
        mode=asked.mode,
        confirm=asked.confirm,
        reports=asked.reports or catalogue.root / "reports",
        repeat=asked.repeat,
    )
    check_size(scenario, scenario_path, plan.end_s + scenario.timeouts.total_s)
    return plan


def _slos(catalogue: Catalogue, names: Sequence[str], scenario: Scenario) -> list[SLO]:
    """Return those asked for, else all that speak of the scenario's tiers."""
    folder = catalogue.root / "slos"
    found = catalogue.slos(names or catalogue.names("slos"), folder)
    tiers = {None, *(tier.tier for tier in scenario.tiers)}
    counted = [slo for slo in found if isinstance(slo.source, RequestsSource)]
    return [slo for slo in counted if names or slo.source.spec.tier in tiers]  # type: ignore[union-attr]


def _long_enough(scenario: Scenario) -> float:
    """Return how long `REQUESTS` requests take, in steps of a second; recordings: a minute."""
    per_s = expected_requests(scenario.arrivals, 60.0) / 60.0
    needed_s = REQUESTS / per_s if per_s > 0 else 60.0
    return float(round(min(_TRIAL_S_MAX, max(_TRIAL_S_MIN, needed_s))))
