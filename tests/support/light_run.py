"""A run with all that a fault needs and nothing else: no load, no phases, no verdict.

    python -m light_run TARGET_FILE ATTACHMENT EXPERIMENT WORK

It passes the gate that every run passes, keeps the state that every run keeps, has the real chaos
child play the experiment at once, reverts what that left, and forgets the run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faultload.errors import FaultError, RefusedError
from faultload.faults import SessionFile, revert_unreverted
from faultload.run.chaos import ChaosChild
from faultload.run.state import RunState, refuse_if_harmed
from faultload.spec import load_target
from faultload.targets import Target, TargetLock, attach, state_home

_BOUND_S = 200.0
"""Longer than the slowest fault's steps all together: a release, and the way back."""


@contextmanager
def admitted(target: Target, run_id: str) -> Iterator[None]:
    """Pass the gate as the supervisor of a run does, and hold the target meanwhile.

    Raises:
        RefusedError: another run holds it, or a fault is in force there.
    """
    fingerprint = target.identity.fingerprint
    with TargetLock(state_home() / fingerprint, run_id):
        refuse_if_harmed(fingerprint)
        with target.lock(run_id):
            if left := target.left_behind():
                raise RefusedError("; ".join(left))
            yield


def run(target_file: Path, attachment: dict[str, str], experiment: Path, work: Path) -> None:
    """Play an experiment's method and its rollbacks.

    Raises:
        FaultError: the child did not end in time.
    """
    target = attach(load_target(target_file), attachment)
    run_id = work.name
    with admitted(target, run_id):
        state = RunState.create(target.identity.fingerprint, run_id, None)
        session = SessionFile(
            target_file=str(target_file),
            attachment=attachment,
            injections=str(state.journal.path),
        )
        session.write(state.session_path)
        child = ChaosChild(experiment, work / "journal.json", state.session_path, work)
        child.release()
        deadline = time.monotonic() + _BOUND_S
        while child.exit_code() is None:
            if time.monotonic() > deadline:
                raise FaultError(f"no end within {_BOUND_S:g} s: {state.journal.entries()[-1:]}")
            time.sleep(0.02)
        child.end()
        revert_unreverted(session)
        if not state.journal.unreverted():
            state.remove()


if __name__ == "__main__":
    _, file, where, what, folder = sys.argv
    run(Path(file), json.loads(where), Path(what), Path(folder))
