"""Finds the programs that `scripts/platform_tools.sh` puts into `.tools/`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".tools/bin"
CRDS = ROOT / ".tools/crds"


def absence(what: str) -> BaseException:
    """Return what skips a test, or fails it where `FAULTLOAD_REQUIRE_PLATFORM_TOOLS=1` is set."""
    why = f"no {what}: scripts/platform_tools.sh gets it, or says why it cannot"
    if os.environ.get("FAULTLOAD_REQUIRE_PLATFORM_TOOLS") == "1":
        return pytest.fail.Exception(f"{why} (FAULTLOAD_REQUIRE_PLATFORM_TOOLS=1)", pytrace=False)
    return pytest.skip.Exception(why)


def need(program: str) -> str:
    """Return the path of a program, ours before the one on PATH; skip or fail without it."""
    found = shutil.which(program, path=os.pathsep.join([str(BIN), os.environ.get("PATH", "")]))
    if found is None:
        raise absence(program)
    return found


def need_crds() -> Path:
    """Return the folder of custom resource definitions; skip or fail without it."""
    if not CRDS.is_dir():
        raise absence("schemas of custom resources")
    return CRDS
