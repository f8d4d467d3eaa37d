"""A platform left up for people and for stock `chaos run`: `faultload platform up [--load]`.

The command starts a host process (`run.platform_host`) and returns when the platform is ready.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import MissingError, RefusedError, UsageError
from faultload.secrecy import in_clear_text
from faultload.spec import Catalogue, LocalTargetSpec
from faultload.targets import Target, attach, check_files, connect, is_locked, state_home
from faultload.targets.processes import last_line

LOAD_READY_TIMEOUT_S = 60.0
_DOWN_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class PlatformUp:
    """A platform that is up.

    Attributes:
        target: its target's name.
        pid: of the host process.
        inference_url, prometheus_url: where it listens.
        load: the scenario of the load that runs; "" for none.
        state: the platform's own state folder.
    """

    target: str
    pid: int
    inference_url: str
    prometheus_url: str
    load: str
    state: str


def platform_folder(target: str) -> Path:
    """Return where the state of the platform left up for `target` is kept."""
    return state_home() / "platforms" / target


def find_platform(target: str) -> PlatformUp | None:
    """Return the platform left up for a target; None when there is none alive."""
    folder = platform_folder(target)
    # The host holds its lock as long as it lives; a pid alone could be a stranger's by now.
    if not (folder / "up.json").exists() or not is_locked(folder):
        return None
    try:
        return PlatformUp(**json.loads((folder / "up.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def attach_or_start(catalogue: Catalogue, target: str, overrides: list[str]) -> Target:
    """Return the platform left up for a target, else connect to it: a local one is started.

    Raises:
        SpecError: a file that the target names is not there.
        UsageError: an override holds a credential.
        RefusedError: overrides were given and a platform is up already.
        MissingError: it did not start.
    """
    _refuse_clear_text(overrides)
    path, spec = catalogue.target(target)
    check_files(spec, path)
    # A cluster's target file may have the same name, and is not what was left up.
    up = find_platform(spec.name) if isinstance(spec, LocalTargetSpec) else None
    if up is not None and overrides:
        raise RefusedError(
            f"a platform is up for target {spec.name!r}, --set cannot change it;"
            " run: faultload platform down"
        )
    if up is not None:
        return attach(spec, {"state": up.state})
    return connect(spec, path, overrides)


def start_own(catalogue: Catalogue, target: str, overrides: list[str]) -> Target:
    """Connect to a target: a local platform is started, whatever was left up; errors as above."""
    _refuse_clear_text(overrides)
    path, spec = catalogue.target(target)
    check_files(spec, path)
    return connect(spec, path, overrides)


def is_started_for_us(catalogue: Catalogue, target: str) -> bool:
    """Return whether `attach_or_start` starts a platform: it is local, and none was left up."""
    _, spec = catalogue.target(target)
    return isinstance(spec, LocalTargetSpec) and find_platform(spec.name) is None


def up(catalogue: Catalogue, target: str, scenario: str, overrides: list[str]) -> PlatformUp:
    """Start a host and wait until its platform, and its load if one is asked for, are ready.

    Args:
        catalogue: where names are looked up.
        target: path or name.
        scenario: the load to run beside it; "" for none.
        overrides: `key=value` changes to the platform's configuration.

    Raises:
        RefusedError: one is up already.
        MissingError: it did not get ready; says its last words.
    """
    path, spec = catalogue.target(target)
    if not isinstance(spec, LocalTargetSpec):
        raise UsageError(f"{path}: kind: only a local platform is ours to start, found {spec.kind}")
    _refuse_clear_text(overrides)
    if scenario:
        catalogue.scenario(scenario)
    if find_platform(spec.name) is not None:
        raise RefusedError(f"a platform is up for target {spec.name!r} already")
    folder = platform_folder(spec.name)
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    for stale in ("up.json", "session.json"):
        (folder / stale).unlink(missing_ok=True)
    log = folder / "host.log"
    words = [str(catalogue.root), str(path), scenario, *overrides]
    with log.open("wb") as output:
        host = subprocess.Popen(
            [sys.executable, "-m", "faultload.run.platform_host", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + spec.local.start_timeout_s + LOAD_READY_TIMEOUT_S
    while (about := find_platform(spec.name)) is None:
        if host.poll() is not None:
            raise MissingError(last_line(log) or f"the host ended with {host.returncode}")
        if time.monotonic() > deadline:
            host.terminate()
            raise MissingError(f"not ready in time; its last words: {last_line(log) or 'none'}")
        time.sleep(0.1)
    return about


def _refuse_clear_text(overrides: Sequence[str]) -> None:
    """Refuse what would stand in the arguments of the platform's processes."""
    for override in overrides:
        key, _, value = override.partition("=")
        if any(in_clear_text({key: value})):
            raise UsageError(
                f"--set {key}: expected no credential here: everybody on the machine can read it in"
                " the process list"
            )


def down(target: str) -> bool:
    """End the platform left up for a target; False: there was none.

    Raises:
        MissingError: its host did not end within the bound.
    """
    about = find_platform(target)
    if about is None:
        return False
    os.kill(about.pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_TIMEOUT_S
    while find_platform(target) is not None:
        if time.monotonic() > deadline:
            raise MissingError(
                f"the platform's host {about.pid} is still up after {_DOWN_TIMEOUT_S} s"
            )
        time.sleep(0.1)
    return True
