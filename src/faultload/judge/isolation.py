"""Did a partition cut anybody off? A target may only be able to say that it was ordered.

The request rows know who served what: whoever served a request that was sent after the partition
was proven, before it was taken back, could be reached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from faultload.judge.model import Evidence, Finding, Verdict
from faultload.record import InjectionEntry, InjectionStep

_FAULT = "partition_replica"


def check_isolation(evidence: Evidence) -> list[Finding]:
    """Nobody who was cut off served anything new; and where only rows can tell, they do tell."""
    names = {e.injection_id for e in evidence.injections if e.fault == _FAULT}
    found = []
    for name in sorted(names):
        entries = [entry for entry in evidence.injections if entry.injection_id == name]
        problem = _problem_of(entries, evidence)
        if problem:
            text = f"Fault {_FAULT} ({name}): {problem}"
            found.append(Finding(Verdict.INVALID, "fault", text, "requests.parquet"))
    return found


def _problem_of(entries: Sequence[InjectionEntry], evidence: Evidence) -> str:
    at = {entry.step: entry.time_unix_s - evidence.t0_unix_s for entry in entries}
    proven_s = at.get(InjectionStep.VERIFIED)
    if proven_s is None or "served_by" not in evidence.requests:
        return ""  # said by other checks
    victims = {
        str(victim["name"]) for entry in entries for victim in entry.plan.get("victims") or []
    }
    rows = evidence.requests
    sent_s, first_s = (
        rows[name].to_numpy(dtype=np.float64) for name in ("sent_s", "first_token_s")
    )
    by_victim = rows["served_by"].isin(victims).to_numpy()
    # What was sent to a victim and answered once it was joined again had to wait for that.
    until_s = at.get(InjectionStep.REVERTING, math.inf)
    through = by_victim & (sent_s > proven_s) & (first_s < until_s)
    if through.any():
        who = ", ".join(sorted(set(rows["served_by"][through])))
        return (
            f"{through.sum()} requests sent after it was served by {who} all the same: nobody was"
            " cut off. Does the cluster's network enforce NetworkPolicies?"
        )
    known = set(rows["served_by"][by_victim & (sent_s <= proven_s)])
    if _is_only_ordered(entries) and known != victims:
        silent = ", ".join(sorted(victims - known))
        return (
            f"nothing shows that {silent} was cut off: no request before it names it as the one"
            " that served (header X-Served-By), and the target cannot tell"
        )
    return ""


def _is_only_ordered(entries: Sequence[InjectionEntry]) -> bool:
    """Tell whether a victim was proven cut off without knowing what it still served."""
    states: list[dict[str, Any]] = [
        state
        for entry in entries
        if entry.step is InjectionStep.VERIFIED
        for state in (entry.evidence.get("data") or {}).get("states") or []
    ]
    return any(state.get("ready") and state.get("inflight") is None for state in states)
