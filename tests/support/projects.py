"""A faultload project of its own for a test: files, state, reports and processes apart."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from faultload.errors import ExitCode
from faultload.judge import LOAD_CLIENT
from faultload.spec import LocalTargetSpec, load_target
from faultload.targets import LocalTarget

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0
"""Of users in runs that are about something else than how long they wait."""


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Return the first true answer of `condition`; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)
    return answer


def processes_mentioning(words: str) -> list[int]:
    """Return the pids of live processes with `words` in their command line or environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            is_zombie = "\nState:\tZ" in (path / "status").read_text()
        except OSError:
            continue
        if words.encode() in text and not is_zombie and int(path.name) != os.getpid():
            found.append(int(path.name))
    return found


def is_late(judgement: Mapping[str, Any]) -> bool:
    """Tell whether our load client was late, by what was found in a run's JSON."""
    return any(finding["subject"] == LOAD_CLIENT for finding in judgement["findings"])


@dataclass(frozen=True)
class Project:
    """A project folder of its own, with state and reports of its own.

    Attributes:
        path: holds experiments/, scenarios/, slos/ and targets/.
    """

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a faultload process here is given."""
        tools = os.pathsep.join([str(ROOT / ".tools" / "bin"), os.environ.get("PATH", "")])
        state = str(self.path / "state")
        return {**os.environ, "XDG_STATE_HOME": state, "PATH": tools, "CI": "true"}

    def experiment(self, name: str, change: Callable[[dict[str, Any]], None]) -> str:
        """Write a variant of replica-loss and return its name."""
        source = ROOT / "experiments" / "engine" / "replica-loss.yaml"
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
        change(document)
        path = self.path / "experiments" / "engine" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return f"engine/{name}"

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a faultload command here."""
        return subprocess.Popen(
            [sys.executable, "-m", "faultload", *words],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def faultload(self, *words: str, timeout_s: float = 180.0) -> subprocess.CompletedProcess[str]:
        """Run a faultload command here to its end."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def run_on_time(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one to its end; again, twice at most, where our load client was late.

        Three late ones skip the test: they have no verdict that could be wrong.
        """
        for _ in range(3):
            done = self.faultload("run", *words)
            if done.returncode != ExitCode.INVALID or not self.was_late():
                return done
        pytest.skip(f"our load client was late in three runs: {self.verdict()['reason']}")

    def was_late(self) -> bool:
        """Tell whether our load client was late in the newest run, as on a machine of many users.

        Such a run is invalid, however well it went otherwise.
        """
        return is_late(self.verdict()["judgement"])

    def is_judged(self, code: int) -> bool:
        """Tell whether a run that ended with a code has a verdict, or would but for late sends."""
        judged = (ExitCode.PASS, ExitCode.FAIL, ExitCode.INCONCLUSIVE)
        return code in judged or self.was_late()

    def run_directory(self) -> Path:
        """Return the newest run's directory."""
        return max((self.path / "reports").iterdir(), key=lambda path: path.stat().st_mtime)

    def verdict(self) -> dict[str, Any]:
        """Return the newest run's verdict.json."""
        data: dict[str, Any] = json.loads((self.run_directory() / "verdict.json").read_text())
        return data

    def events(self) -> list[dict[str, Any]]:
        """Return the events of the newest run so far; none when there is no run yet."""
        try:
            lines = (self.run_directory() / "record" / "events.jsonl").read_text().splitlines()
            return [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return []

    def is_clean(self) -> None:
        """Assert that no process of this project is left."""
        mine = str(self.path)
        wait_for(lambda: not processes_mentioning(mine), 15, f"no process of {mine} to be left")


def make_project(path: Path, phases: Mapping[str, float], *, patience: float = 1.0) -> Project:
    """Lay out a project that uses our files with short phases.

    Args:
        path: of its folder.
        phases: of its target.
        patience: how many times as long as we promise users wait for a token: on a machine that
            others share four late requests of a short baseline end a run before its fault.
    """
    (path / "experiments" / "engine").mkdir(parents=True)
    (path / "scenarios").symlink_to(ROOT / "scenarios")
    (path / "slos").mkdir()
    for slo in (ROOT / "slos").iterdir():
        text = slo.read_text(encoding="utf-8")
        # The limit of an SLO, and the bucket that its annotation counts on the server.
        text = re.sub(
            r"(?<=t_s <= )[0-9.]+|(?<=le=\")[0-9.]+",
            lambda found: f"{float(found[0]) * patience:g}",
            text,
        )
        (path / "slos" / slo.name).write_text(text, encoding="utf-8")
    (path / "targets").mkdir()
    target = yaml.safe_load((ROOT / "targets" / "local.yaml").read_text(encoding="utf-8"))
    target["local"]["config"] = str(ROOT / "platform" / "local.yaml")
    target["phases"] = dict(phases)
    (path / "targets" / "local.yaml").write_text(yaml.safe_dump(target), encoding="utf-8")
    project = Project(path)
    project.experiment("replica-loss", lambda _: None)
    return project


def platform_of(project: Project) -> LocalTarget:
    """Return the platform left up in a project."""
    home = project.path / "state" / "faultload" / "platforms" / "local"
    about = json.loads((home / "up.json").read_text(encoding="utf-8"))
    spec = load_target(project.path / "targets" / "local.yaml")
    assert isinstance(spec, LocalTargetSpec)
    return LocalTarget(spec, Path(about["state"]))


def everyone_is_ready(project: Project) -> bool:
    """Tell whether every engine replica of the platform left up is ready."""
    platform = platform_of(project)
    try:
        return all(replica.ready for replica in platform.replicas("engine"))
    finally:
        platform.close()


def chaos_process(project: Project, *words: str) -> subprocess.Popen[str]:
    """Start stock Chaos Toolkit in a project."""
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("chaos")), "--no-version-check", *words],
        cwd=project.path,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
