"""Chaos Toolkit at arm's length: its validation, and the child process that plays an experiment.

chaoslib is the file format and the engine, never the judge: what it calls completed is evidence at
most (docs/decisions/ has the reasons).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faultload.errors import FaultError, SpecError
from faultload.faults.session import SESSION_VARIABLE
from faultload.record import Tail
from faultload.spec import Experiment
from faultload.targets.processes import end, last_line, signal_group, spawn

_REVERT_GRACE_S = 20.0
_REVERT_BEGIN_S = 1.0
"""A child that has not begun to revert by then is stuck: from its end on others can."""
_POLL_S = 0.01


def check_with_chaoslib(experiment: Experiment) -> None:
    """Validate as stock `chaos validate` does: modules, functions and arguments exist.

    Raises:
        SpecError: what Chaos Toolkit objects to.
    """
    # Imported here: it costs a quarter of a second that most commands need not pay.
    from chaoslib.exceptions import ChaosException  # noqa: PLC0415
    from chaoslib.experiment import ensure_experiment_is_valid  # noqa: PLC0415

    chaos_logger = logging.getLogger("logzero_default")
    level = chaos_logger.level
    chaos_logger.setLevel(logging.CRITICAL)
    try:
        ensure_experiment_is_valid(experiment.raw)
    except ChaosException as error:
        problem = " ".join(str(error).split())
        raise SpecError(experiment.path, "", f"Chaos Toolkit refuses it: {problem}") from None
    except Exception as error:  # noqa: BLE001  # it trusts the shapes of what it reads
        problem = f"Chaos Toolkit cannot read it: {type(error).__name__}: {error}"
        raise SpecError(experiment.path, "", problem) from None
    finally:
        chaos_logger.setLevel(level)


def arguments_of(experiment: Experiment, activity: dict[str, Any]) -> Any:
    """Return an activity's arguments with `${names}` replaced, as Chaos Toolkit will pass them.

    Raises:
        SpecError: the configuration takes something from the environment that is not there.
    """
    from chaoslib import substitute  # noqa: PLC0415
    from chaoslib.configuration import load_configuration  # noqa: PLC0415
    from chaoslib.exceptions import ChaosException  # noqa: PLC0415

    try:
        configuration = load_configuration(experiment.raw.get("configuration", {}))
    except ChaosException as error:
        for name, value in experiment.raw["configuration"].items():
            key = value.get("key") if isinstance(value, dict) else None
            if key and key not in os.environ and "default" not in value:
                problem = f"expected the environment variable {key} to be set, found it is not"
                raise SpecError(experiment.path, f"configuration.{name}", problem) from None
        problem = " ".join(str(error).split())
        raise SpecError(experiment.path, "configuration", f"cannot be read: {problem}") from None
    return substitute(activity["provider"].get("arguments", {}), configuration, {})


class ChaosChild:
    """The process that plays an experiment: started early, released when its moment comes."""

    def __init__(self, experiment: Path, journal: Path, session: Path, logs: Path) -> None:
        """Start it; it imports what it needs and then waits for `release`."""
        answers = logs / "chaos.jsonl"
        self._answers = Tail(answers)
        self._log = logs / "chaos.log"
        self._released_s = 0.0
        self._interrupted_s: float | None = None
        self._process: subprocess.Popen[bytes] = spawn(
            [sys.executable, "-m", "faultload.run.chaos_child", str(experiment), str(journal)],
            self._log,
            {SESSION_VARIABLE: str(session)},
            answers=answers,
        )

    def release(self) -> None:
        """Let it play.

        Raises:
            FaultError: it is gone.
        """
        assert self._process.stdin is not None  # noqa: S101  # spawn made the pipe
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
            self._released_s = time.monotonic()
        except OSError:
            raise FaultError(
                f"the chaos process is gone before it began; its last words:"
                f" {last_line(self._log) or 'none'}"
            ) from None

    def answers(self) -> list[dict[str, Any]]:
        """Return what it said since the last call, one object an activity or stage."""
        return self._answers.read()

    def playing_s(self) -> float:
        """Seconds since it was released."""
        return time.monotonic() - self._released_s

    def exit_code(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """Return the last line of its log."""
        return last_line(self._log) or "none"

    def interrupt(self) -> None:
        """Have it play its rollbacks; returns at once. Only the first call does anything."""
        if self._interrupted_s is not None:
            return
        self._interrupted_s = time.monotonic()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it may be dead already
                self._process.stdin.close()
        if self._process.poll() is None:
            signal_group(self._process, signal.SIGINT)  # a second would cut its rollbacks short

    def end(self, is_reverting: Callable[[], bool] = lambda: True) -> None:
        """Interrupt it, so that it plays its rollbacks, and end it within a bound. Idempotent.

        Args:
            is_reverting: tells whether nothing is in force that is not being taken back. A child
                that does not get that far soon is killed: the journal has what is left to do.
        """
        self.interrupt()
        since_s = self._interrupted_s or 0.0
        while self._process.poll() is None:
            bound_s = _REVERT_GRACE_S if is_reverting() else _REVERT_BEGIN_S
            if time.monotonic() - since_s > bound_s:
                break
            time.sleep(_POLL_S)
        end(self._process, 0.0, signal.SIGKILL)
