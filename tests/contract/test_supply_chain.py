"""What we are built from cannot be exchanged, and CI can do no more than it must."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_WORKFLOWS = sorted((_ROOT / ".github" / "workflows").rglob("*.y*ml"))
_ACTIONS = sorted((_ROOT / ".github" / "actions").rglob("action.y*ml"))
_USES = re.compile(r"^\s*(?:-\s+)?uses:\s*(\S+)(.*)$", re.MULTILINE)
_PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
_VERSION = re.compile(r"\s+# v\d+\.\d+\.\d+")

_each_workflow = pytest.mark.parametrize("path", _WORKFLOWS, ids=[path.name for path in _WORKFLOWS])
_FILES = [*_WORKFLOWS, *_ACTIONS]
_each_file = pytest.mark.parametrize(
    "path", _FILES, ids=[f"{path.parent.name}/{path.name}" for path in _FILES]
)


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def _jobs(path: Path) -> dict[str, dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = _read(path).get("jobs", {})
    return jobs


def _steps(path: Path) -> list[dict[str, Any]]:
    """Return the steps of a workflow's jobs, or of a composite action."""
    found = [step for job in _jobs(path).values() for step in job.get("steps", [])]
    return found + list(_read(path).get("runs", {}).get("steps", []))


def test_every_file_is_a_workflow_or_an_action() -> None:
    """The rules below hold for something, and nothing escapes them."""
    assert _WORKFLOWS
    assert sorted((_ROOT / ".github").rglob("*.y*ml")) == sorted(_FILES)
    assert all(_steps(path) for path in _FILES)


@_each_file
def test_actions_are_pinned_by_digest(path: Path) -> None:
    """A tag can be moved to other code, a commit cannot; the version is there to be read."""
    used = _USES.findall(path.read_text(encoding="utf-8"))
    own = {f"./{action.parent.relative_to(_ROOT).as_posix()}" for action in _ACTIONS}
    loose = [
        name
        for name, after in used
        if name not in own and not (_PINNED.fullmatch(name) and _VERSION.match(after))
    ]
    assert loose == []


@_each_workflow
def test_permissions_are_the_least(path: Path) -> None:
    """Reading the repository is enough for all of it, jobs included."""
    assert _read(path).get("permissions") == {"contents": "read"}
    assert [name for name, job in _jobs(path).items() if "permissions" in job] == []


@_each_file
def test_what_others_write_runs_nothing(path: Path) -> None:
    """No job of a fork's pull request has our secrets, and no title ends up in a shell."""
    text = path.read_text(encoding="utf-8")
    assert "pull_request_target" not in text
    assert "secrets." not in text
    steps = _steps(path)
    assert [step["run"] for step in steps if "${{" in str(step.get("run", ""))] == []


@_each_file
def test_no_credential_stays_in_the_checkout(path: Path) -> None:
    """What runs later must not find the token that fetched the code."""
    checkouts = [step for step in _steps(path) if "actions/checkout" in str(step.get("uses", ""))]
    assert all(step.get("with", {}).get("persist-credentials") is False for step in checkouts)


def test_token_goes_to_the_comment_alone() -> None:
    """Code of a pull request runs without it: one step has it, and runs no file of the checkout."""
    steps = [step for path in _FILES for step in _steps(path)]
    holding = [step for step in steps if "github.token" in str(step)]
    assert [step["run"].count("gh pr comment") for step in holding] == [1]
    assert not any("scripts/" in step["run"] for step in holding)


def test_ci_audits_the_dependencies() -> None:
    """A vulnerability that became known last night is found today."""
    assert "make audit" in (_ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_dependency_has_its_hash() -> None:
    """What is installed is what was locked, whatever an index serves."""
    lock = tomllib.loads((_ROOT / "uv.lock").read_text(encoding="utf-8"))
    theirs = [one for one in lock["package"] if "registry" in one["source"]]
    files = [
        (one["name"], file)
        for one in theirs
        for file in [*one.get("wheels", []), *filter(None, [one.get("sdist")])]
    ]
    assert {one["name"] for one in theirs} == {name for name, _ in files}
    assert [name for name, file in files if not file.get("hash", "").startswith("sha256:")] == []


def test_every_package_of_the_page_has_its_hash() -> None:
    """Exact versions with hashes; and no address, which would be of one machine's registry."""
    folder = _ROOT / "platform" / "chat"
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    asked = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    theirs = {name: one for name, one in lock["packages"].items() if name}
    assert theirs
    assert [
        name for name, one in theirs.items() if not one["integrity"].startswith("sha512-")
    ] == []
    assert [name for name, one in theirs.items() if "resolved" in one] == []
    wanted = {**asked["dependencies"], **asked["devDependencies"]}
    assert {name: theirs[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def test_every_tool_has_its_hash() -> None:
    """What no lock has is installed by hash, too; CI does not go on without it."""
    for tool in ("checkov", "hadolint", "shellcheck"):
        text = (_ROOT / "scripts" / f"{tool}.txt").read_text(encoding="utf-8")
        pinned = re.findall(r"^([\w.-]+)==(.*(?:\n .*)*)", text, re.MULTILINE)
        assert pinned
        assert [name for name, rest in pinned if "--hash=sha256:" not in rest] == []
    script = (_ROOT / "scripts" / "platform_tools.sh").read_text(encoding="utf-8")
    assert '--require-hashes -r "scripts/$name.txt"' in script
    assert "FAULTLOAD_REQUIRE_PLATFORM_TOOLS=1 make test-platform" in (
        (_ROOT / ".ci" / "run").read_text(encoding="utf-8")
    )
