"""Steady-state probes. They answer yes or no: missing data is no.

Chaos Toolkit compares what a probe returns; a NaN in a numeric tolerance would end it with its
rollbacks not played, so numbers never leave this module.
"""

import time
from pathlib import Path
from typing import Any

from faultload.faults import stock
from faultload.faults.session import SessionFile
from faultload.judge.slo import count_events
from faultload.record import read_live_rows
from faultload.spec.slo import load_slos

__all__ = ["ask_chaosk8s", "replicas_are_ready", "slos_are_met"]


def ask_chaosk8s(probe: str, arguments: dict[str, Any]) -> bool:
    """Have a probe of chaosk8s answer, on the run's cluster: `chaosk8s.pod.probes.pods_in_phase`.

    Only those on our list may, all of which answer yes or no.
    """
    target = SessionFile.find().attach()
    try:
        return stock.ask(target, probe, arguments)
    finally:
        target.close()


def replicas_are_ready(component: str = "engine", replicas_min: int = 1) -> bool:
    """Say whether at least `replicas_min` replicas of a component are ready."""
    target = SessionFile.find().attach()
    try:
        return sum(replica.ready for replica in target.replicas(component)) >= replicas_min
    finally:
        target.close()


def slos_are_met(
    slos: list[str] | None = None, window_s: float = 10.0, events_min: int = 20
) -> bool:
    """Say whether the share of bad requests is within the budget of each SLO.

    Args:
        slos: names; None: every SLO of the run.
        window_s: requests that ended this recently count.
        events_min: fewer requests than this are no evidence: the answer is no.
    """
    session = SessionFile.find()
    if not session.slos or not session.rows:
        return False
    known = {slo.name: slo for slo in load_slos(Path(session.slos))}
    rows = read_live_rows(Path(session.rows))
    recent = rows[rows["end_s"] >= time.time() - session.t0_unix_s - window_s]
    if len(recent) < events_min:
        return False
    for name in known if slos is None else slos:
        if name not in known:
            return False
        counted = count_events(recent, known[name])
        if counted.events == 0 or counted.bad > counted.events * known[name].budget:
            return False
    return True
