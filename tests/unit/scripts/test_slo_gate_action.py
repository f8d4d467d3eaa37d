"""The action of a pull request, step by step: what each verdict comes to, and its comment.

What GitHub does with a composite action is played: its steps in order, in bash as GitHub calls it.
Both platforms are stand-ins that start nothing, and the gate is a stored one, judged for real.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from gates import Bench, planned

from faultload.run.gate.conduct import Gate
from faultload.run.progress import Silent

ROOT = Path(__file__).parents[3]
ACTION = yaml.safe_load((ROOT / ".github/actions/slo-gate/action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
INPUTS = {name: one.get("default", "") for name, one in ACTION["inputs"].items()}
SETUP = f"""\
#!/usr/bin/env bash
set -eu
cd "$(dirname "${{BASH_SOURCE[0]}}")/.."
mkdir -p .venv/bin
printf '#!/bin/sh\\nexec {sys.executable} "$@"\\n' >.venv/bin/python
cp scripts/faultload .venv/bin/faultload
chmod +x .venv/bin/*
"""
FAULTLOAD = f"""\
#!/usr/bin/env bash
set -eu
echo "$@" >>"$CALLS"
case "$1" in
  platform)
    if [ "$2" = up ]; then
      if [ -n "${{UP_EXIT:-}}" ]; then exit "$UP_EXIT"; fi
      echo '{{"inference_url": "http://127.0.0.1:1"}}'
    fi
    ;;
  gate)
    mkdir -p reports
    cp -r "$STORED" reports/
    exec {sys.executable} -m faultload gate --stored "reports/$(basename "$STORED")"
    ;;
esac
"""
GH = """\
#!/bin/sh
echo "gh $*" >>"$CALLS"
case "$*" in *--paginate*) printf '%s' "$OWN" ;; esac
exit "${GH_EXIT:-0}"
"""
SAME = {"baseline": 1.0, "candidate": 1.0}


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a stored gate of each verdict that decides something."""
    home = tmp_path_factory.mktemp("gates")

    def stored(slower: dict[str, float], trial_s: float, **how: Any) -> Path:
        plan = planned(home, traces=5, has_history=False, trial_s=trial_s)
        bench = Bench({1: slower}, **how)
        return Gate(plan, Silent(), player=bench.play, opening=bench.opening).run().path

    return {
        "pass": stored(SAME, 15.0),
        "fail": stored({"baseline": 1.0, "candidate": 1.5}, 15.0),
        "inconclusive": stored(SAME, 1.5),
        "invalid": stored(SAME, 1.5, spoil=lambda *_: {"lag_s_p99": 9.0}),
    }


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a repository of one commit with the real script and stand-ins for what it calls."""
    home = tmp_path / "checkout"
    (home / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/slo-gate.sh", home / "scripts")
    for name, text in (("setup.sh", SETUP), ("faultload", FAULTLOAD)):
        (home / "scripts" / name).write_text(text, encoding="utf-8")
        (home / "scripts" / name).chmod(0o755)
    for name in ("bin", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin/gh").write_text(GH, encoding="utf-8")
    (tmp_path / "bin/gh").chmod(0o755)
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=home, check=True, timeout=60)
    return home


class Job:
    """What a job that uses the action comes to."""

    def __init__(self, checkout: Path, stored: Path | None = None, **environment: str) -> None:
        """Play nothing yet; `stored` is the gate, `environment` what its surroundings say."""
        self._checkout, self.home = checkout, checkout.parent
        self._environment = {"STORED": str(stored or ""), **environment}
        self.code, self.said = 0, ""

    def play(self, steps: Sequence[dict[str, Any]] = STEPS, **inputs: str) -> Job:
        """Play steps in order; one that fails skips those that do not always run."""
        given = INPUTS | inputs
        known = {f"inputs.{name}": value for name, value in given.items()}
        known |= {"github.token": "t", "github.event.pull_request.number": "7"}
        for step in steps:
            condition = step.get("if", "")
            is_unwanted = "inputs.comment == 'true'" in condition and given["comment"] != "true"
            if is_unwanted or (self.code and "always()" not in condition):
                continue
            known |= {f"steps.gate.outputs.{k}": v for k, v in self._outputs().items()}
            self._play(step, known)
        return self

    def _play(self, step: dict[str, Any], known: dict[str, str]) -> None:
        def shown(text: str) -> str:
            return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: known.get(found[1], ""), text)

        script = self.home / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self._checkout,
            env={
                **os.environ,
                **self._environment,
                **{key: shown(value) for key, value in step.get("env", {}).items()},
                "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
                "TMPDIR": str(self.home / "tmp"),
                "GITHUB_OUTPUT": str(self.home / "output"),
                "GITHUB_STEP_SUMMARY": str(self.home / "summary"),
                "GITHUB_REPOSITORY": "o/r",
                "CALLS": str(self.home / "calls"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.code, self.said = self.code or done.returncode, self.said + done.stdout + done.stderr

    def _outputs(self) -> dict[str, str]:
        lines = self.text("output").splitlines()
        return dict(line.split("=", maxsplit=1) for line in lines)

    def text(self, name: str) -> str:
        """Return what was written into a file, "" without one."""
        path = self.home / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def comment(self) -> list[str]:
        """The lines of the comment that was written, or was to be."""
        (body,) = (self.home / "tmp").glob("tmp.*")
        return body.read_text(encoding="utf-8").splitlines()

    @property
    def asked(self) -> list[str]:
        """What GitHub was asked for, in order."""
        return [call for call in self.text("calls").splitlines() if call.startswith("gh ")]

    @property
    def annotations(self) -> list[str]:
        """The lines that GitHub shows at the top."""
        return [line for line in self.said.splitlines() if line.startswith("::")]


@pytest.mark.full
@pytest.mark.parametrize(
    ("verdict", "code", "annotation"),
    [
        ("pass", 0, ""),
        ("fail", 1, "::error title=SLO gate::fail"),
        ("inconclusive", 0, "::warning title=SLO gate::inconclusive"),
        ("invalid", 3, "::error title=SLO gate::invalid"),
    ],
)
def test_each_verdict_has_its_summary_annotation_and_code(
    checkout: Path, gates: dict[str, Path], verdict: str, code: int, annotation: str
) -> None:
    """A fail and an invalid gate block, an inconclusive one warns; both platforms are ended."""
    job = Job(checkout, gates[verdict]).play(base="HEAD")

    assert job.text("summary").startswith(f"## SLO gate: {verdict.upper()}\n"), job.said
    assert job.code == code
    assert len(job.annotations) == bool(annotation)
    assert all(one.startswith(annotation) for one in job.annotations)
    calls = job.text("calls").splitlines()
    assert calls.count("platform up --json") == calls.count("platform down") == 2
    asked = "gate --baseline http://127.0.0.1:1 --candidate http://127.0.0.1:1"
    assert f"{asked} --mode quick --confirm" in calls
    assert job.asked == []
    listed = ["git", "worktree", "list", "--porcelain"]
    done = subprocess.run(listed, cwd=checkout, capture_output=True, check=True, timeout=60)
    assert done.stdout.count(b"worktree ") == 1


@pytest.mark.full
def test_usage_error_is_no_verdict(checkout: Path) -> None:
    """An unknown base: the summary says that there is no verdict, and the job fails with 64."""
    job = Job(checkout).play(base="no-such-commit")

    assert job.code == 64
    assert job.text("summary") == "## SLO gate: no verdict, exit code 64; the log says why\n"
    assert job.annotations == ["::error title=SLO gate::no verdict, exit code 64: the log says why"]
    assert "expected a commit that is here, found no-such-commit" in job.said
    assert job.text("calls") == ""


@pytest.mark.full
def test_platform_that_does_not_start_is_no_verdict(checkout: Path) -> None:
    """Its own exit code is the job's, and not 1, which would say that an SLI got worse."""
    job = Job(checkout, UP_EXIT="69").play(base="HEAD")

    assert job.code == 69
    assert job.text("summary") == "## SLO gate: no verdict, exit code 69; the log says why\n"
    assert "Traceback" not in job.said
    assert "gate" not in {call.split()[0] for call in job.text("calls").splitlines()}


@pytest.mark.full
def test_summary_becomes_a_comment_where_that_is_asked_for(
    checkout: Path, gates: dict[str, Path]
) -> None:
    """The gate's Markdown goes to the pull request, by its number, whatever the verdict."""
    job = Job(checkout, gates["fail"]).play(base="HEAD", comment="true")

    looked, comment = job.asked
    assert looked.startswith("gh api --paginate repos/o/r/issues/7/comments ")
    assert comment.startswith("gh pr comment 7 --repo o/r --body-file ")
    assert job.comment[:2] == ["<!-- faultload gate -->", "## SLO gate: FAIL"]


def commented(checkout: Path, **environment: str) -> Job:
    """Play the step that comments alone, after a gate whose summary is one word."""
    (checkout / "reports/gate-1").mkdir(parents=True)
    (checkout / "reports/gate-1/gate.md").write_text("pass\n", encoding="utf-8")
    (step,) = (step for step in STEPS if "inputs.comment" in step.get("if", ""))
    job = Job(checkout, **environment).play([step], comment="true")
    assert (job.code, job.comment) == (0, ["<!-- faultload gate -->", "pass"]), job.said
    return job


@pytest.mark.parametrize(
    ("own", "asks"),
    [
        ("", "gh pr comment 7 --repo o/r --body-file "),
        ("11\n12", "gh api --method PATCH repos/o/r/issues/comments/12 -F body=@"),
    ],
)
def test_its_own_comment_is_renewed_and_no_other(checkout: Path, own: str, asks: str) -> None:
    """What another workflow wrote last stays as it is."""
    job = commented(checkout, OWN=own)

    assert job.asked[-1].startswith(asks)
    assert not [call for call in job.asked if "--edit-last" in call]
    assert not job.said


def test_a_comment_that_may_not_be_written_is_a_warning(checkout: Path) -> None:
    """A fork's pull request has a token that only reads; the gate's own verdict counts."""
    (said,) = commented(checkout, GH_EXIT="1").annotations

    assert said.startswith("::warning title=SLO gate::")
