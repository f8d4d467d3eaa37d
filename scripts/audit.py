#!/usr/bin/env python3
"""Audit what we depend on: every file of uv.lock has its hash, and none has a known vulnerability.

    scripts/audit.py [--lock FILE] [--uv PROGRAM]

The second is `uv audit`, which asks osv.dev (where pip-audit, too, may ask). Where it fails, as it
does where that cannot be reached, nothing is known of vulnerabilities, and the last line says so.
Ends with 0, with 1 where something is wrong, with 69 where there is no uv, or the one that set-up
fetched knows no `audit`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_OURS = ROOT / ".tools" / "uv" / "bin" / "uv"
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_TIMEOUT_S = 120.0
_VULNERABLE, _MISSING = 1, 69


def unhashed(lock: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a lock holds that could be another file tomorrow, a line each."""
    for package in lock["package"]:
        name, source = f"{package['name']} {package.get('version', '')}".strip(), package["source"]
        if source.keys() & {"editable", "virtual"}:
            continue  # our own
        if "registry" not in source:
            yield f"{name}: expected a registry as its source, found {', '.join(source)}"
        files = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        if not files:
            yield f"{name}: no file"
        for file in files:
            if not _SHA256.fullmatch(file.get("hash", "")):
                yield f"{name}: {file.get('url', 'a file')} has no SHA-256"


def count_files(lock: Mapping[str, Any]) -> int:
    """Return how many files a lock names."""
    return sum(len(one.get("wheels", [])) + ("sdist" in one) for one in lock["package"])


def find_uv() -> str | None:
    """Return the uv that set-up fetched, else the one on PATH; None: there is none."""
    places = os.pathsep.join([str(_OURS.parent), os.environ.get("PATH", "")])
    return shutil.which("uv", path=places)


def ask_for_vulnerabilities(uv: str, folder: Path) -> tuple[int, str]:
    """Return the exit code of `uv audit` and what it said; 2 where it got no answer in time."""
    try:
        done = subprocess.run(
            [uv, "audit", "--frozen", "--preview-features", "audit-command"],
            cwd=folder,
            env={**os.environ, "UV_HTTP_RETRIES": "1", "UV_PYTHON_DOWNLOADS": "never"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 2, f"no answer within {_TIMEOUT_S:g} s"
    return done.returncode, done.stdout.strip()


def main() -> int:
    """Do both; say plainly which was done."""
    parser = argparse.ArgumentParser(description="Audit the dependencies.")
    parser.add_argument("--lock", type=Path, default=ROOT / "uv.lock")
    parser.add_argument("--uv", default=find_uv())
    options = parser.parse_args()
    lock = tomllib.loads(options.lock.read_text(encoding="utf-8"))
    problems = list(unhashed(lock))
    for problem in problems:
        print(f"audit: {problem}")
    if not problems:
        about = f"{count_files(lock)} files of {len(lock['package'])} packages"
        print(f"audit: hashes: {about} in uv.lock, each with its SHA-256 or our own")
    if options.uv is None:
        print("audit: expected uv in .tools/ or on PATH, found none; run: make setup")
        return _MISSING
    code, said = ask_for_vulnerabilities(options.uv, options.lock.parent)
    last = said.splitlines()[-1].strip() if said else "it said nothing"
    if code == 0:
        print(f"audit: vulnerabilities: {last}")
    elif code == _VULNERABLE:
        print(said)
        print("audit: vulnerabilities: found, see above; upgrade with: uv lock --upgrade-package")
    elif "unrecognized subcommand" in said and Path(options.uv) == _OURS:
        print(f"audit: {_OURS} cannot audit: it is too old; run: rm -r .tools; make setup")
        return _VULNERABLE if problems else _MISSING
    else:
        print(f"audit: vulnerabilities: NOT looked up, uv audit failed: {last}: hashes only")
    return _VULNERABLE if problems or code == _VULNERABLE else 0


if __name__ == "__main__":
    sys.exit(main())
