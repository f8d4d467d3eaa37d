"""What may import what, and what an import must not drag in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_imports_point_down(root: Path) -> None:
    """Every contract of `.importlinter` is kept."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-logo"], cwd=root, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _dragged_in(by: str, strangers: set[str]) -> list[str]:
    """Return which of the modules an import has loaded."""
    code = f"import sys, {by}; print(*sorted({strangers} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_command_line_imports_neither_locust_nor_chaos_toolkit_nor_kubernetes() -> None:
    """Importing the command line leaves the interpreter as it was, and does not take long.

    Locust and gevent patch sockets, threads and signals; Chaos Toolkit belongs in its own process;
    the Kubernetes client takes a second and a half.
    """
    strangers = {"locust", "gevent", "chaoslib", "chaosk8s", "kubernetes"}
    assert _dragged_in("faultload.cli", strangers) == []


def test_nothing_pays_for_statistics_before_it_judges() -> None:
    """`import scipy` loads its parts when one is used: two thirds of a second of every command."""
    assert _dragged_in("faultload.judge, faultload.run.recover", {"scipy.special"}) == []
