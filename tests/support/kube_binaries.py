"""Finds or builds the programs of a Kubernetes control plane.

docs/testing-on-kubernetes.md says where it looks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
MODULE = _ROOT / "tests/cluster/controlplane"
_FETCH_TOOLS = _ROOT / "scripts/fetch_tools.py"
_FETCH_TIMEOUT_S = 300.0
_BUILD_TIMEOUT_S = 3600.0  # one slow core; docs/testing-on-kubernetes.md has measured times

Command = tuple[str, ...]


class Missing(Exception):  # noqa: N818  # a fact about this machine, not yet an error
    """A program is neither here nor can be built; the text says what to install."""


@dataclass(frozen=True)
class Binaries:
    """How to start each part: program and first arguments.

    Attributes:
        controller_manager, scheduler: None: not there, so nothing makes or schedules pods.
        source: where kube-apiserver comes from, for people.
        built_s: None: found ready.
    """

    etcd: Command
    apiserver: Command
    controller_manager: Command | None
    scheduler: Command | None
    source: str
    built_s: float | None


def find(say: Callable[[str], None] = lambda _: None) -> Binaries:
    """Look in `KUBEBUILDER_ASSETS`, then on PATH, then in our cache; else build it with Go.

    Parts of different origin are not mixed, save etcd: a controller manager must not be of a newer
    release than its API server.

    Args:
        say: told when something slow begins.

    Raises:
        Missing: no way is open on this machine.
        RuntimeError: there is Go, and the build failed.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        for program in ("etcd", "kube-apiserver"):
            if not _in(assets, program):
                raise Missing(
                    f"expected etcd and kube-apiserver in KUBEBUILDER_ASSETS={assets},"
                    f" found no {program}; fill it (`setup-envtest use`) or unset it"
                )
        return _ready(assets, f"KUBEBUILDER_ASSETS={assets}", _in(assets, "etcd"))
    if shutil.which("kube-apiserver"):
        return _ready(None, "PATH", _etcd())
    if not shutil.which("go"):
        raise Missing(
            "expected a Kubernetes API server, found none: KUBEBUILDER_ASSETS is not set,"
            " kube-apiserver is not on PATH, and neither is go, to build it with; install Go"
            f" {_required('go')} or later, or put the programs of `setup-envtest use` into"
            " KUBEBUILDER_ASSETS"
        )
    etcd = _etcd()  # before the build: it takes minutes, and would be for nothing
    binary, built_s = _built(say)
    return Binaries(
        etcd=(etcd,),
        apiserver=(str(binary), "kube-apiserver"),
        controller_manager=(str(binary), "kube-controller-manager"),
        scheduler=(str(binary), "kube-scheduler"),
        source="built by Go from tests/cluster/controlplane",
        built_s=built_s,
    )


def absence(why: str) -> BaseException:
    """Return what skips a test, or fails it where `FAULTLOAD_REQUIRE_CLUSTER=1` is set."""
    if os.environ.get("FAULTLOAD_REQUIRE_CLUSTER") == "1":
        return pytest.fail.Exception(f"{why} (FAULTLOAD_REQUIRE_CLUSTER=1)", pytrace=False)
    return pytest.skip.Exception(why)


def _in(folder: str | None, program: str) -> str | None:
    """Return a program of a folder (None: of PATH)."""
    return shutil.which(program, path=folder)


def _ready(folder: str | None, source: str, etcd: str | None) -> Binaries:
    parts = [_in(folder, f"kube-{p}") for p in ("apiserver", "controller-manager", "scheduler")]
    apiserver, controller_manager, scheduler = ((part,) if part else None for part in parts)
    assert apiserver
    assert etcd
    return Binaries((etcd,), apiserver, controller_manager, scheduler, source, built_s=None)


def _etcd() -> str:
    """Return etcd from PATH or `.tools/`, where fetch_tools puts Debian's when it is not there."""
    done = subprocess.run(
        [sys.executable, str(_FETCH_TOOLS), "--only", "etcd"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_FETCH_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise Missing(done.stderr.strip())
    return done.stdout.strip().removeprefix("etcd: ")


def _required(what: str) -> str:
    """Return a version from our go.mod: of `go` or of a module."""
    match = re.search(rf"^\s*(?:require )?{re.escape(what)} v?(\S+)", _text("go.mod"), re.MULTILINE)
    assert match
    return match[1]


def _text(name: str) -> str:
    return (MODULE / name).read_text(encoding="utf-8")


def _built(say: Callable[[str], None]) -> tuple[Path, float | None]:
    """Return our control plane and how long it took to build, None when it was in the cache.

    The cache is outside the checkout, so that every checkout of the user shares it, and named by
    what goes into the build.
    """
    command = _build_command()
    parts = [_text("go.mod"), _text("main.go"), _go("env", "GOVERSION"), *command]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "faultload"
    binary = cache / f"controlplane-{name}"
    if binary.exists():
        return binary, None
    cache.mkdir(parents=True, exist_ok=True)
    say("building a Kubernetes control plane, once on this machine; it takes minutes")
    with _only_one(cache / "controlplane.lock"), tempfile.TemporaryDirectory(dir=cache) as scratch:
        if binary.exists():  # another run built it while we waited
            return binary, None
        begin = time.monotonic()
        new = Path(scratch, "controlplane")
        _go(*command, "-o", str(new), ".")
        new.rename(binary)
        return binary, time.monotonic() - begin


def _build_command() -> list[str]:
    version = _required("k8s.io/kubernetes")
    major, minor, _ = version.split(".")
    # What `kubectl version` and the API's /version say; a plain build knows only "v0.0.0-master".
    stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X k8s.io/component-base/version.{k}={v}" for k, v in stamps.items())
    return ["build", "-buildvcs=false", "-trimpath", "-ldflags", f"-s -w {flags}"]


def _go(*arguments: str) -> str:
    """Run Go in our module and return what it printed."""
    done = subprocess.run(
        ["go", *arguments],
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_TIMEOUT_S,
    )
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise RuntimeError(f"go {arguments[0]} in {MODULE} ended with {done.returncode}:\n{last}")
    return done.stdout.strip()


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold a lock, so that two runs at once do not both build; it ends with who holds it."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
