"""What a run needs, checked before it is missed."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import FaultloadError
from faultload.run.plan import prepare
from faultload.run.state import left_behind
from faultload.spec import Catalogue
from faultload.targets import state_home

_PYTHON_MIN = (3, 11)
_PROGRAMS = ("prometheus", "promtool", "redis-server")


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what.
        passed: whether a run can do with what was found.
        found: what was found, and what to do when it is not enough.
    """

    name: str
    passed: bool
    found: str


def examine(start: Path) -> list[Check]:
    """Look at everything; no check stops the others."""
    checks = [
        Check(
            "python",
            sys.version_info >= _PYTHON_MIN,
            f"{platform.python_version()} (3.11 or newer is needed)",
        ),
        _state(),
    ]
    try:
        catalogue = Catalogue.find(start.resolve())
    except FaultloadError as error:
        return [*checks, Check("project", passed=False, found=str(error))]
    checks += [_program(name, catalogue.root) for name in _PROGRAMS]
    checks.append(_experiments(catalogue))
    checks.append(_left_behind())
    return checks


def _state() -> Check:
    try:
        return Check("state", passed=True, found=str(state_home()))
    except FaultloadError as error:
        return Check("state", passed=False, found=str(error))


def _program(name: str, root: Path) -> Check:
    places = os.pathsep.join([str(root / ".tools" / "bin"), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    return Check(name, found is not None, found or "not on PATH nor in .tools/bin; run: make setup")


def _experiments(catalogue: Catalogue) -> Check:
    problems = []
    paths = catalogue.experiment_paths()
    targets = catalogue.names("targets")
    for path in paths:
        try:
            prepare(catalogue, str(path), targets[0])
        except FaultloadError as error:
            problems.append(str(error))
    found = "; ".join(problems) or f"{len(paths)} valid"
    return Check("experiments", bool(paths) and not problems, found)


def _left_behind() -> Check:
    try:
        runs = [state.folder.name for state in left_behind()]
    except FaultloadError as error:
        return Check("left behind", passed=False, found=str(error))
    found = f"{', '.join(runs)}: still going, or dead: run faultload recover" if runs else "nothing"
    return Check("left behind", not runs, found)
