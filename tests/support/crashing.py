"""A harness that plays one fault and is killed at a given step of its journal."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deadly import arm

from faultload.faults import FAULTS, FaultSession, SessionFile
from faultload.faults.limits import Limits
from faultload.record import InjectionStep
from faultload.run.state import RunState
from faultload.spec import load_target
from faultload.targets import connect

# Forked from a process that has imported everything and has no threads: the tests have some.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["crashing", "faultload.targets.kubernetes"])
_BOUND_S = 120.0


@dataclass(frozen=True)
class Play:
    """One fault, and when the harness dies.

    Attributes:
        target: path of the target file.
        fault: its name.
        intent: its parameters.
        step: after whose entry the harness dies.
        ttl_s: after how many seconds what it left may be undone by anybody.
        state_home: XDG_STATE_HOME.
    """

    target: Path
    fault: str
    intent: Mapping[str, Any]
    step: InjectionStep
    ttl_s: float
    state_home: Path


def play_and_die(play: Play) -> None:
    """Play the fault in a process of its own until that is killed.

    Raises:
        AssertionError: it ended in another way.
    """
    process = _FORKS.Process(target=_play, args=(play,))
    process.start()
    process.join(_BOUND_S)
    assert process.exitcode == -signal.SIGKILL, f"the harness ended with {process.exitcode}"


def _play(play: Play) -> None:
    os.environ["XDG_STATE_HOME"] = str(play.state_home)
    spec = load_target(play.target)
    target = connect(spec, play.target)
    state = RunState.create(target.identity.fingerprint, f"{play.fault}-{play.step}", None)
    SessionFile(
        target_file=str(play.target),
        attachment=dict(target.attachment()),
        injections=str(state.journal.path),
    ).write(state.session_path)
    arm(play.fault, play.step, lambda: os.kill(os.getpid(), signal.SIGKILL))
    session = FaultSession(target, state.journal, play.ttl_s)
    fault = FAULTS[play.fault]
    session.apply(fault(target, fault.intent(**play.intent), Limits()))
    session.revert_all()
