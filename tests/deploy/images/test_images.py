"""Dockerfiles as they are written. Nothing here builds them: that takes a daemon and a registry."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from charts import CHARTS, containers, pod_templates, render
from platform_tools import ROOT, need

FILES = {path.parent.name: path for path in sorted(ROOT.glob("platform/images/*/Dockerfile"))}
each_image = pytest.mark.parametrize("name", FILES)
_OURS = pytest.mark.parametrize("name", [name for name in FILES if name != "vllm"])


def _instructions(name: str) -> list[tuple[str, str]]:
    """Return each instruction and what follows it, lines joined and comments left out."""
    text = FILES[name].read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = lines.replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def _last_stage(name: str) -> list[tuple[str, str]]:
    found = _instructions(name)
    start = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def test_there_is_one_for_each_program() -> None:
    """What the charts run beside other people's images."""
    assert FILES.keys() == {"vllm", "engine-sim", "router", "chat", "faultload"}


@each_image
def test_hadolint_is_silent(name: str) -> None:
    """Its rules are the usual mistakes: unpinned packages, shells that hide failures, root."""
    done = subprocess.run(
        [need("hadolint"), "--no-color", str(FILES[name])],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


@each_image
def test_base_is_a_release_that_a_digest_can_replace(name: str) -> None:
    """What is built tomorrow is what was built today, down to the base."""
    found = _instructions(name)
    variables = set()
    for base in [rest for word, rest in found if word == "ARG"]:
        variable, _, image = base.partition("=")
        tag = image.rpartition(":")[2]
        assert re.search(r"\d+\.\d+\.\d+", tag), image
        variables.add(f"${{{variable}}}")
    assert variables == {rest.split()[0] for word, rest in found if word == "FROM"}


@each_image
def test_it_runs_as_the_number_that_charts_use(name: str) -> None:
    """Without an account there is nobody to become root as."""
    users = [rest for word, rest in _last_stage(name) if word == "USER"]
    ids = {
        f"{security['runAsUser']}:{security['runAsGroup']}"
        for chart in CHARTS
        for _, template in pod_templates(render(chart))
        for security in [template["spec"]["securityContext"]]
    }
    assert {users[-1]} == ids


@each_image
def test_no_secret_and_no_model_is_in_it(name: str) -> None:
    """An image is read by whoever can pull it; weights and keys come from outside."""
    for word, rest in _instructions(name):
        assert word != "ADD"
        if word in {"ENV", "ARG"}:
            assert not re.search(r"(KEY|TOKEN|SECRET|PASSWORD)\w*=", rest)
        if word == "RUN":
            assert not re.search(r"curl|wget|huggingface|hf download", rest)


@_OURS
def test_packages_come_with_their_hashes(name: str) -> None:
    """From uv.lock, package-lock.json, and build.txt for what builds; nothing else gets in."""
    runs = [rest for word, rest in _instructions(name) if word == "RUN"]
    for rest in runs:
        npm = "npm install --no-save --ignore-scripts &&"
        assert "--require-hashes" in rest or "uv sync --frozen" in rest or rest.startswith(npm)
        if "uv pip install" in rest:
            assert "--no-deps --no-index" in rest
    pinned = (ROOT / "platform/images/build.txt").read_text(encoding="utf-8")
    version = re.search(r"UV_VERSION=([\d.]+)", (ROOT / "scripts/setup.sh").read_text("utf-8"))
    assert version
    assert f"uv=={version[1]} " in pinned
    assert "\nhatchling==" in pinned
    assert "\nsetuptools==" in pinned


@pytest.mark.parametrize("machine", ["linux-x64", "linux-arm64"])
def test_page_is_built_from_what_is_locked(machine: str) -> None:
    """What a lock lacks npm adds without a hash: it lacks nothing that the image's build needs."""
    lock = json.loads((ROOT / "platform/chat/package-lock.json").read_text(encoding="utf-8"))
    packages = {path.removeprefix("node_modules/") for path in lock["packages"]}
    needed = {f"@esbuild/{machine}", f"@rollup/rollup-{machine}-gnu"}
    for one in lock["packages"].values():
        needed |= one.get("dependencies", {}).keys() | one.get("devDependencies", {}).keys()
    assert needed <= packages


@_OURS
def test_what_builds_stays_behind(name: str) -> None:
    """The image has the environment and no compiler, package manager of ours, or source."""
    words = [word for word, _ in _instructions(name)]
    assert words.count("FROM") == 1 + words.count("ARG")  # a builder each, and what is left
    copied = [rest for word, rest in _last_stage(name) if word == "COPY"]
    assert copied[0] == "--from=build /app/.venv /app/.venv"
    assert not [rest for word, rest in _last_stage(name) if word == "RUN"]


@_OURS
def test_what_is_copied_is_sent_to_the_build(name: str) -> None:
    """.dockerignore lets nothing through but what it names; a file it lacks fails the build."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert "*" in ignore
    for word, rest in _instructions(name):
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert source in sent
                assert (ROOT / source).exists()


def test_charts_run_programs_that_images_have() -> None:
    """A command of a chart replaces the image's own."""
    commands = {
        (container["image"].split(":")[0].rpartition("/")[2], tuple(container["command"][:3]))
        for chart in CHARTS
        for layers in [(), *((path.stem,) for path in (CHARTS[chart] / "values").glob("*.yaml"))]
        for _, template in pod_templates(render(chart, *layers))
        for container in containers(template)
        if "command" in container
    }
    assert {name for name, _ in commands} == {*FILES, "vllm-openai", "redis"}
    for name, command in commands:
        if command[:2] == ("python", "-m"):
            assert name in {"engine-sim", "router", "chat"}
            module = Path("platform/src", *command[2].split("."))
            assert (ROOT / module).is_dir() or (ROOT / module).with_suffix(".py").is_file()
