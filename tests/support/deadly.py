"""Runs a module of faultload that is killed when an injection journal has come to a step.

    python tests/support/deadly.py MARK FAULT STEP WHO MODULE [ARGUMENT ...]

MODULE is the real thing, and so is the chaos child that it starts. All that is added: whoever
appends the entry of FAULT with STEP sends a SIGKILL right after that entry is on the disk, to the
supervisor or to itself as WHO says, and does nothing more. MARK is a file that then is there; a
run in which the step never came leaves none.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from faultload.errors import FaultError
from faultload.faults import FAULTS
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep
from faultload.run import chaos

_CHILD = "faultload.run.chaos_child"
_ORPHAN_S = 30.0
"""An orphan that the kernel does not end ends itself: late enough to be caught alive."""


class Who(StrEnum):
    """Who is killed."""

    SUPERVISOR = "supervisor"
    """Its children are to die with it."""
    CHILD = "child"
    """The chaos child alone: its supervisor sees to the rest."""
    RECOVERY = "recovery"
    """`faultload recover` itself, at work after a supervisor that was killed."""


@dataclass(frozen=True)
class Death:
    """When somebody dies, and who.

    Attributes:
        fault, step: of the entry after which it happens.
        who: is killed.
        mark: file that is written just before.
    """

    fault: str
    step: InjectionStep
    who: Who
    mark: Path

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the command that runs a module until then."""
        words = [str(self.mark), self.fault, self.step.value, self.who.value]
        return [sys.executable, __file__, *words, module, *arguments]

    @staticmethod
    def entry(module: str, *arguments: str) -> list[str]:
        """Return the command that runs a module to its own end."""
        return [sys.executable, "-m", module, *arguments]


def arm(fault: str, step: InjectionStep, die: Callable[[], None]) -> None:
    """Have `die` called in this process right after such an entry is on the disk.

    No fault fails of its own accord: for the step `failed` its proof does.
    """
    patched: Any = InjectionJournal
    append = InjectionJournal.append

    def deadly(journal: InjectionJournal, entry: InjectionEntry) -> None:
        append(journal, entry)
        if (entry.fault, entry.step) == (fault, step):
            die()

    patched.append = deadly
    if step is InjectionStep.FAILED:
        unproven: Any = FAULTS[fault]
        unproven.verify = _refuse


def _refuse(*_: object) -> None:
    raise FaultError("its proof fails because a test wants it to")


def _kill(pid: int, mark: Path) -> Callable[[], None]:
    def die() -> None:
        mark.touch()
        os.kill(pid, signal.SIGKILL)
        # Whoever killed the supervisor is to be killed by the kernel, and does nothing until then.
        time.sleep(_ORPHAN_S)
        os._exit(1)

    return die


def _wrap_children(death: Death) -> None:
    """Have the chaos child that this process will start be a deadly one, too."""
    patched: Any = chaos
    spawn = patched.spawn

    def deadly(arguments: Sequence[str], *rest: Any, **more: Any) -> subprocess.Popen[bytes]:
        _, _, module, *words = arguments
        assert module == _CHILD, module
        started: subprocess.Popen[bytes] = spawn(death.command(module, *words), *rest, **more)
        return started

    patched.spawn = deadly


def main(arguments: Sequence[str]) -> None:
    """Run the module that the arguments name until its death, or to its end."""
    mark, fault, step, who, module, *words = arguments
    death = Death(fault, InjectionStep(step), Who(who), Path(mark))
    if module == _CHILD:
        victim = os.getppid() if death.who is Who.SUPERVISOR else os.getpid()
        arm(fault, death.step, _kill(victim, death.mark))
    else:
        if death.who is not Who.CHILD:
            arm(fault, death.step, _kill(os.getpid(), death.mark))
        _wrap_children(death)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
