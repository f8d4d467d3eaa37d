"""The action's comment: its own is renewed, nobody else's, and none fails the gate."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
_GH = """#!/bin/sh
echo "$*" >>"$ASKED"
case "$*" in
  *--paginate*) printf '%s' "$OWN" ;;
esac
exit "$CODE"
"""


def _comment(folder: Path, own: str = "", code: int = 0) -> tuple[str, str]:
    """Run the step that comments; return what gh was asked, and what the step said."""
    action = yaml.safe_load((ROOT / ".github/actions/slo-gate/action.yml").read_text("utf-8"))
    (step,) = (s for s in action["runs"]["steps"] if "inputs.comment" in s.get("if", ""))
    (folder / "reports/gate-1").mkdir(parents=True)
    (folder / "reports/gate-1/gate.md").write_text("pass\n", encoding="utf-8")
    (folder / "gh").write_text(_GH, encoding="utf-8")
    (folder / "gh").chmod(0o700)
    asked = folder / "asked"
    names = {"ASKED": str(asked), "OWN": own, "CODE": str(code), "TMPDIR": str(folder)}
    names |= {"NUMBER": "7", "GITHUB_REPOSITORY": "o/r"}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env=os.environ | names | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    (body,) = folder.glob("tmp.*")
    assert body.read_text(encoding="utf-8") == "<!-- faultload gate -->\npass\n"
    return asked.read_text(encoding="utf-8"), done.stdout


@pytest.mark.parametrize(
    ("own", "asks"),
    [
        ("", "pr comment 7 --repo o/r --body-file "),
        ("11\n12", "api --method PATCH repos/o/r/issues/comments/12 -F body=@"),
    ],
)
def test_its_own_comment_is_renewed_and_no_other(tmp_path: Path, own: str, asks: str) -> None:
    """What another workflow wrote last stays as it is."""
    asked, said = _comment(tmp_path, own)

    assert asked.splitlines()[-1].startswith(asks)
    assert "--edit-last" not in asked
    assert not said


def test_a_comment_that_may_not_be_written_is_a_warning(tmp_path: Path) -> None:
    """A fork's pull request has a token that only reads; the gate's own verdict counts."""
    _, said = _comment(tmp_path, code=1)

    assert said.startswith("::warning title=SLO gate::")
