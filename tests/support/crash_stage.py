"""A platform left up under a light load, on which harnesses are killed one after the other."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from local_snapshot import is_settled, is_worn
from projects import ROOT, Project, make_project, platform_of, processes_mentioning

from faultload.errors import FaultloadError
from faultload.targets import LocalTarget

PLATFORM = (
    "cold_start_s=5",
    "restart.backoff_s=1",
    "restart.backoff_s_max=20",
    "restart.reset_after_s=10",
    "node_life.lost_after_s=10",
    "node_life.launch_s=10",
    "node_life.image_pull_s=0",
    "node_life.empty_for_s=20",
    "spot.notice_s=30",
    "prometheus.scrape_interval_s=0.5",
)
"""The shipped platform, quicker: what is replaced is there after a second or two."""
PHASES = {"warmup_s": 1, "baseline_s": 4, "hold_s": 1, "recovery_s": 1}
"""Of whole runs."""
_RATE_RPS = 4.0
_AGE_S_MAX = 2400.0
"""The load beside a platform left up lasts an hour."""
_SETTLE_S = 60.0
_TIMED_OUT = 124


class Stage:
    """Owns a project and its platform; entering starts nothing, `ready` does."""

    def __init__(self) -> None:
        """Lay out the project."""
        self._folder = Path(tempfile.mkdtemp(prefix="faultload-crashes-"))
        self.project: Project = make_project(self._folder / "project", PHASES)
        self._target: LocalTarget | None = None
        self._since_s = 0.0
        self._dirty = False
        target = self.project.path / "targets" / "local.yaml"
        document = yaml.safe_load(target.read_text(encoding="utf-8"))
        # Whom a fault may hit is tried elsewhere; here each is to be played, wherever replicas are.
        document["blast_radius_share_max"] = 1.0
        target.write_text(yaml.safe_dump(document), encoding="utf-8")
        shutil.rmtree(self.project.path / "experiments")
        shutil.copytree(ROOT / "experiments", self.project.path / "experiments")
        self._write_scenario()

    def __enter__(self) -> Self:
        """Look for runs where this project keeps them."""
        os.environ["XDG_STATE_HOME"] = str(self.project.path / "state")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End everything."""
        self._down()
        kill_all(str(self._folder))
        shutil.rmtree(self._folder, ignore_errors=True)

    def ready(self) -> LocalTarget:
        """Return the platform with all that it should have: another one if this one is spoilt.

        Raises:
            AssertionError: it does not get ready.
        """
        for _ in range(2):
            if self._target is None:
                self._up()
            assert self._target is not None
            old = time.monotonic() - self._since_s > _AGE_S_MAX
            if not (old or self._dirty) and self._settles(self._target):
                return self._target
            self._down()
        raise AssertionError("no platform gets ready here")

    def spoil(self) -> None:
        """Have the next case start on a fresh platform."""
        self._dirty = True

    def experiment(self, name: str, fault: str, arguments: Mapping[str, Any]) -> Path:
        """Write an experiment that plays one fault and reverts it at once."""
        provider = {"type": "python", "module": "faultload.faults"}
        document = {
            "title": f"{fault} leaves no harm",
            "description": "One fault and the way back, for harnesses that are killed at it.",
            "method": [
                {
                    "type": "action",
                    "name": fault,
                    "provider": {**provider, "func": fault, "arguments": dict(arguments)},
                }
            ],
            "rollbacks": [
                {"type": "action", "name": "back", "provider": {**provider, "func": "revert_all"}}
            ],
        }
        path = self._folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    def work(self, name: str) -> Path:
        """Return a new folder for what one case writes."""
        path = self._folder / "work" / name
        path.mkdir(parents=True)
        return path

    def _settles(self, target: LocalTarget) -> bool:
        deadline = time.monotonic() + _SETTLE_S
        with contextlib.suppress(FaultloadError):
            while time.monotonic() < deadline:
                if is_settled(target):
                    return not is_worn(target)
                time.sleep(0.1)
        return False

    def _up(self) -> None:
        words = [word for one in PLATFORM for word in ("--set", one)]
        scenario = str(self.project.path / "light.yaml")
        done = self.project.faultload("platform", "up", "--load", "--scenario", scenario, *words)
        assert done.returncode == 0, done.stderr
        self._target, self._since_s, self._dirty = (
            platform_of(self.project),
            time.monotonic(),
            False,
        )

    def _down(self) -> None:
        if self._target is not None:
            self._target.close()
            self._target = None
        self.project.faultload("platform", "down")
        # What a failed case left of its state is about a platform that is gone by now.
        shutil.rmtree(self.project.path / "state", ignore_errors=True)

    def _write_scenario(self) -> None:
        source = ROOT / "scenarios" / "chat-steady.yaml"
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
        document["arrivals"]["rate_rps"] = _RATE_RPS
        path = self.project.path / "light.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")


def alive_after(words: str, bound_s: float) -> list[str]:
    """Return the command lines of processes that mention `words` and do not end within a bound."""
    deadline = time.monotonic() + bound_s
    while found := processes_mentioning(words):
        if time.monotonic() > deadline:
            return [_command_line(pid) for pid in found]
        time.sleep(0.05)
    return []


def kill_all(words: str) -> None:
    """Kill every process that mentions `words`."""
    for pid in processes_mentioning(words):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def run(
    command: list[str], environment: Mapping[str, str], here: Path, work: Path, bound_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder to its end; one that is killed at the bound has exit code 124."""
    out, err = work / "out.txt", work / "err.txt"
    # Files and no pipes: an orphan would keep those open, and us waiting.
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command, cwd=here, env=dict(environment), stdout=stdout, stderr=stderr
        )
        try:
            code = process.wait(bound_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = _TIMED_OUT
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return subprocess.CompletedProcess(command, code, *texts)


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return f"{pid} " + b" ".join(words).decode(errors="replace").strip()[:200]
    return str(pid)
