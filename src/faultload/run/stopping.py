"""`faultload stop`: a person in another terminal asks a run to end, and waits until it has.

The request is a file in the run's state folder, which the supervisor looks for at every tick. The
run then ends as after a signal. Its state folder goes once all is reverted and the record sealed.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from faultload.errors import Interrupted, MissingError, UsageError, nearest
from faultload.run.state import RunState, left_behind
from faultload.targets import holder_of

WAIT_S = 180.0
"""A load's grace, a child's, the slowest proof of a revert and a slow Prometheus, one by one."""

_REQUEST = "stop.json"
_POLL_S = 0.1
_REASON_MAX = 300


@dataclass(frozen=True)
class Stopped:
    """What became of one run that was asked to end.

    Attributes:
        run_id: the run.
        took_s: until it was reverted and sealed.
        problem: why that is not certain; "" when it is.
    """

    run_id: str
    took_s: float
    problem: str = ""


def heed(state: RunState) -> None:
    """End this run if somebody asked for it.

    Raises:
        Interrupted: somebody did; says why. Its code is SIGTERM's: that is how else one asks.
    """
    request = state.folder / _REQUEST
    try:
        said = request.read_bytes()
    except OSError:  # where files are used up, that is said of one that is not there, too
        if not request.exists():
            return
        said = b""  # it is there, and that is enough
    try:
        reason = str(json.loads(said)["reason"])
    except (ValueError, KeyError, TypeError):
        reason = ""
    raise Interrupted(signal.SIGTERM, f"stopped by faultload stop: {reason or 'no reason given'}")


def running() -> list[RunState]:
    """Return the runs that go on now on this machine, oldest first."""
    return [
        state
        for state in left_behind()
        if not state.is_standing and holder_of(state.target_home) == state.folder.name
    ]


def stop(run_id: str = "", *, everything: bool = False, reason: str = "") -> list[Stopped]:
    """Ask runs to end, and wait until they are reverted and sealed.

    Args:
        run_id: of which; "": the only one that runs.
        everything: all that run.
        reason: goes into their records.

    Raises:
        MissingError: nothing runs.
        UsageError: that one does not, or several do and it was not said which.
    """
    known = {state.folder.name: state for state in running()}
    if not known:
        raise MissingError("no run is going on here: nothing to stop")
    if run_id and run_id not in known:
        near = nearest(run_id, known)
        raise UsageError(f"no run {run_id!r} is going on{near}; there are: {', '.join(known)}")
    if len(known) > 1 and not run_id and not everything:
        raise UsageError(f"several runs are going on, name one or --all: {', '.join(known)}")
    chosen = [known[run_id]] if run_id else list(known.values())
    began_s = time.monotonic()
    for state in chosen:
        _ask(state, " ".join(reason.split())[:_REASON_MAX])
    return _await(chosen, began_s)


def _ask(state: RunState, reason: str) -> None:
    partial = state.folder / f"{_REQUEST}.{os.getpid()}"
    try:
        partial.write_text(json.dumps({"reason": reason}), encoding="utf-8")
        partial.replace(state.folder / _REQUEST)
    except FileNotFoundError:
        return  # it has just ended


def _await(states: Sequence[RunState], began_s: float) -> list[Stopped]:
    waiting, ended = list(states), dict[str, Stopped]()
    while waiting:
        took_s = time.monotonic() - began_s
        for state in list(waiting):
            problem = _problem(state, took_s)
            if problem is not None:
                waiting.remove(state)
                ended[state.folder.name] = Stopped(state.folder.name, took_s, problem)
        time.sleep(_POLL_S)
    return [ended[state.folder.name] for state in states]


def _problem(state: RunState, waited_s: float) -> str | None:
    """Return "" once a run has ended in good order, what is wrong, or None: go on waiting."""
    if not state.folder.exists():
        return ""
    if holder_of(state.target_home) != state.folder.name and state.folder.exists():
        return "it ended and left something behind; run: faultload recover"
    if waited_s > WAIT_S:
        harm = "a fault may be in force" if state.may_be_harmed() else "no fault is in force"
        return (
            f"it did not end within {WAIT_S:g} s, and {harm}; end its process, then run:"
            " faultload recover"
        )
    return None
