"""Looks at a round, taken again: each sees what there was by then, and nothing later."""

from __future__ import annotations

from typing import Any

from faultload.judge import GateResult, Verdict
from faultload.judge.trial import ERRORS, Measured
from faultload.record.gate import SideName, TrialEntry
from faultload.run.gate.deciding import Trial, look_back


def trial(stage: int, side: SideName, requests: int) -> Trial:
    """Return a valid trial of one trace."""
    entry = TrialEntry(
        name="x",
        round=1,
        stage=stage,
        side=side,
        trace="t1",
        attempt=1,
        start_s=0.0,
        length_s=1.0,
        problems=[],
    )
    return Trial(entry, Measured({ERRORS.name: 0.0}, requests))


def test_a_look_is_told_the_requests_of_its_own_trials() -> None:
    """A short trial of the second stage does not change what the first look was worth."""
    seen: list[tuple[int, int, int]] = []

    def look(_: Any, old: Any, new: Any, **about: Any) -> GateResult:
        seen.append((about["stage"], about["requests"], len(old["t1"]) + len(new["t1"])))
        return GateResult(Verdict.INCONCLUSIVE, "", None, None, None, None, 1)

    trials = [trial(stage, side, 1000) for stage in (1, 2) for side in ("baseline", "candidate")]
    trials[-1] = trial(2, "candidate", 480)

    look_back(trials, [ERRORS], look, upto=2, stages=2, history={})

    assert seen == [(1, 1000, 2), (2, 480, 4)]
