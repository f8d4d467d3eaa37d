"""The audit says which of its two checks it could make, and fails where one found something."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts/audit.py"
LOCK = """
[[package]]
name = "ours"
source = { editable = "." }

[[package]]
name = "theirs"
version = "1.0"
source = { registry = "https://registry.invalid/simple" }
wheels = [{ url = "https://registry.invalid/theirs.whl", hash = "sha256:HASH" }]
"""
HASH = "0" * 64


def audited(tmp_path: Path, uv: str, lock: str = LOCK) -> subprocess.CompletedProcess[str]:
    """Run the audit of a lock with a uv that is a shell script."""
    path, program = tmp_path / "uv.lock", tmp_path / "uv"
    path.write_text(lock.replace("HASH", HASH), encoding="utf-8")
    program.write_text(f"#!/bin/sh\n{uv}\n", encoding="utf-8")
    program.chmod(0o755)
    words = [sys.executable, str(SCRIPT), "--lock", str(path), "--uv", str(program)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_both_checks_pass(tmp_path: Path) -> None:
    """The whole lock is looked up, and nothing else: it must not be changed meanwhile."""
    done = audited(tmp_path, 'echo "$1 $2: Found none"')
    assert done.returncode == 0
    assert "1 files of 2 packages" in done.stdout
    assert "audit: vulnerabilities: audit --frozen: Found none" in done.stdout


def test_a_vulnerability_fails(tmp_path: Path) -> None:
    """With all that is known of it."""
    done = audited(tmp_path, "echo theirs 1.0 has 1 known vulnerability; exit 1")
    assert done.returncode == 1
    assert "theirs 1.0 has 1 known vulnerability" in done.stdout
    assert "found, see above" in done.stdout


def test_a_database_out_of_reach_is_no_answer(tmp_path: Path) -> None:
    """It is no failure of ours, and must not read like a good answer."""
    done = audited(tmp_path, "echo cause: no such host; exit 2")
    assert done.returncode == 0
    assert "NOT looked up, uv audit failed: cause: no such host: hashes only" in done.stdout


def test_a_uv_that_cannot_audit_is_missing_if_it_is_ours(tmp_path: Path) -> None:
    """Set-up has to fetch another one; somebody else's may be as old as it likes."""
    unknown = "echo \"error: unrecognized subcommand 'audit'\"; exit 2"
    theirs = audited(tmp_path, unknown)
    assert theirs.returncode == 0
    assert "uv audit failed: error: unrecognized subcommand 'audit'" in theirs.stdout

    script, ours = tmp_path / "scripts/audit.py", tmp_path / ".tools/uv/bin/uv"
    for path in (script, ours):
        path.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, script)
    (tmp_path / "uv").rename(ours)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 69
    assert "too old; run: rm -r .tools; make setup" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sha256:HASH", "md5:1234", "theirs.whl has no SHA-256"),
        (', hash = "sha256:HASH"', "", "theirs.whl has no SHA-256"),
        ("{ registry =", "{ git =", "expected a registry as its source, found git"),
        ("wheels =", "others =", "theirs 1.0: no file"),
    ],
)
def test_what_could_be_exchanged_fails(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A file without a hash, or a source that is none to pin."""
    assert old in LOCK
    done = audited(tmp_path, "true", LOCK.replace(old, new))
    assert done.returncode == 1
    assert said in done.stdout
