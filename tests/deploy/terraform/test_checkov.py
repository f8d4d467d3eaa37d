"""Checkov finds nothing, and every exception from it is explained and needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from terraform_code import HARNESS, PLATFORM, ROOT

_TIMEOUT_S = 900
_SKIP = re.compile(r"#checkov:skip=(\w+):?(.*)")


def _program() -> str:
    found = shutil.which("checkov", path=f"{ROOT / '.tools/bin'}:{os.environ.get('PATH', '')}")
    if found is None:
        why = "checkov is neither in .tools/bin nor on PATH"
        if os.environ.get("FAULTLOAD_REQUIRE_PLATFORM_TOOLS") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return found


def _exceptions(top: Path) -> set[tuple[str, str, str]]:
    """Return check, file and reason of each exception in and below a folder."""
    return {
        (check, str(file), reason)
        for file in top.rglob("*.tf")
        for check, reason in _SKIP.findall(file.read_text())
    }


@pytest.mark.parametrize("top", [PLATFORM, HARNESS], ids=["platform", "harness"])
def test_exceptions_are_explained(top: Path) -> None:
    """Each exception says why."""
    assert {each for each in _exceptions(top) if len(each[2].split()) < 4} == set()


@pytest.mark.parametrize(
    ("top", "passed_min"), [(PLATFORM, 300), (HARNESS, 40)], ids=["platform", "harness"]
)
def test_checkov_finds_nothing(top: Path, passed_min: int) -> None:
    """No check fails, many pass, and no exception is left over from what was mended."""
    done = subprocess.run(
        [
            *(_program(), "--framework", "terraform", "--skip-download"),
            *("--output", "json", "--directory", top),
        ],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    report = json.loads(done.stdout)
    results = report["results"]
    failed = {
        f"{check['check_id']} {check['resource']}: {check['check_name']}"
        for check in results["failed_checks"]
    }
    assert failed == set()
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > passed_min
    used = {
        (check["check_id"], str(top / check["file_path"].lstrip("/")))
        for check in results["skipped_checks"]
    }
    assert {(check, file) for check, file, _ in _exceptions(top)} == used
