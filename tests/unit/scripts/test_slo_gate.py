"""The gate of a pull request: what it needs is missed before anything is started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("words", "found"), [([], "nothing"), (["no-such-commit"], "no-such")])
def test_unknown_commit_is_a_usage_error(words: list[str], found: str) -> None:
    """One line and exit code 64; no checkout of it is left in the list."""
    done = subprocess.run(
        [_ROOT / "scripts" / "slo-gate.sh", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 64
    assert f"expected a commit that is here, found {found}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_script_is_sound_bash() -> None:
    """What nobody runs but CI is at least read through."""
    script = _ROOT / "scripts" / "slo-gate.sh"
    done = subprocess.run(
        ["bash", "-n", script], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.stderr == ""
