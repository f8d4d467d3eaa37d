"""`history.json`: the earlier runs that a run is held beside, chosen before it began.

Nothing in one run says how the next one would differ (docs/statistics.md); runs of the same traffic
on the same target do, whatever the experiments were: up to the fault all experiments are alike.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from faultload.record.stored import Stored, parsed
from faultload.spec.slo import SLO


class Counted(Stored):
    """What the baseline phase of a run held of one SLO."""

    source: str
    """`digest_of` what counts and what is good; the same for any target."""
    events: int = Field(gt=0)
    bad: int = Field(ge=0)


class AcceptedRun(Stored):
    """One run that somebody accepted; an entry of the baseline store."""

    kind: Literal["run"] = "run"
    schema_version: Literal[1] = 1
    saved: str
    """When, UTC."""
    run_id: str
    commit: str
    workload: dict[str, str]
    """Traffic and target: what must be equal for two baseline phases to be of one kind."""
    slos: dict[str, Counted]


class Withdrawal(Stored):
    """Says that an accepted run counts no more; another entry of the store."""

    kind: Literal["withdrawal"] = "withdrawal"
    schema_version: Literal[1] = 1
    saved: str
    entry: str
    """Of the run: `000001`."""
    reason: str


class RunHistory(Stored):
    """`history.json` of a record."""

    schema_version: Literal[1] = 1
    workload: dict[str, str]
    """Of the run itself."""
    runs: list[AcceptedRun] = Field(default_factory=list)
    """Oldest first; empty: none was accepted so far, or nobody said where they are."""


def read_history(path: Path) -> RunHistory | None:
    """Return what a record says of earlier runs; None: it is of an older faultload.

    Raises:
        SpecError: it is damaged.
    """
    try:
        return parsed(RunHistory.model_validate_json, path.read_bytes(), path)
    except FileNotFoundError:
        return None


def ratios_of(runs: Sequence[AcceptedRun], slos: Sequence[SLO]) -> dict[str, list[float]]:
    """Return natural logarithms of bad ratios by SLO, as `Evidence.history` has them.

    Of another SLO by the same name nothing counts; a run without a bad request is minus infinity.
    """
    found = {}
    for slo in slos:
        own = [run.slos[slo.name] for run in runs if slo.name in run.slos]
        own = [one for one in own if one.source == digest_of(slo)]
        found[slo.name] = [math.log(one.bad / one.events) if one.bad else -math.inf for one in own]
    return {name: ratios for name, ratios in found.items() if ratios}


def digest_of(slo: SLO) -> str:
    """Return a digest of where an SLO's events come from and which of them are good."""
    return hashlib.sha256(slo.source.model_dump_json().encode()).hexdigest()[:16]
