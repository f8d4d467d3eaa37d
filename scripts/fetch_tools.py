#!/usr/bin/env python3
"""Make sure that prometheus, promtool and redis-server are here, without root and without daemons.

Each program is looked for in this order, and the first answer wins:

1. PATH
2. `.tools/bin/`, where an earlier run put it
3. Debian packages, from the apt sources of this system, downloaded and unpacked into `.tools/`
4. the official release, from its own site, refused unless it has the checksum pinned below

Prints one line a program, saying where it is. Ends with 0, or with 69 and one line that says what
is missing and why each way failed. Needs only the standard library: it runs before there is a
virtual environment.

`--only etcd` finds etcd, and nothing else: only tests/cluster needs it, so set-up leaves it alone;
likewise `--only alertmanager` and tests/deploy.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

EXIT_MISSING = 69
DOWNLOAD_TIMEOUT_S = 60.0  # for a silent peer; a slow one may take longer
COMMAND_TIMEOUT_S = 300.0
BUILD_TIMEOUT_S = 900.0

PROGRAMS = {
    "prometheus": ("prometheus", "promtool"),
    "redis": ("redis-server",),
    "etcd": ("etcd",),
    "alertmanager": ("amtool",),
}
DEFAULT_SUITES = ("prometheus", "redis")
DEBIAN_PACKAGES = {
    "prometheus": "prometheus",
    "redis": "redis-server",
    "etcd": "etcd-server",
    "alertmanager": "prometheus-alertmanager",
}

PROMETHEUS_VERSION = "3.13.1"
# The release's own sha256sums.txt, as several distributions' recipes repeat it.
PROMETHEUS_SHA256 = {
    "linux-amd64": "962b812371aff838d152b6ff2d56fdb7a6396f5542f48ebf73421b9721f0d103",
    "linux-arm64": "fbd8e5e0f6ad2e7d053e717739186caee4fd0cab2cf9335bfc86c292fe2a2bfe",
    "darwin-amd64": "bc6cef4bdbeb3d0974ac161684dd2a0c4d4e341a13a4a634917b1c09d0f33fc5",
    "darwin-arm64": "28d1f1224b2a22f84c801487fad4b3bd58f94a8cb58cf9340557e787030c9703",
}
REDIS_VERSION = "7.2.15"
# The list of hashes that the Redis project publishes beside its releases.
REDIS_SHA256 = "7bf7975331511fdb788e85dae63964b128fccee1df026a10db57444babc9c9c4"


class Unavailable(Exception):  # noqa: N818  # a way that did not work, not yet an error
    """One way to get a program did not work; the text says why in a few words."""


@dataclass(frozen=True)
class Options:
    """What the command line decides.

    Attributes:
        tools: the folder everything is put into.
        prometheus_base_url: holds `v<version>/prometheus-<version>.<os>-<arch>.tar.gz`.
        redis_base_url: holds `redis-<version>.tar.gz`.
        sources: which of path, debian and release may be used.
        suites: which of PROGRAMS are wanted.
    """

    tools: Path
    prometheus_base_url: str
    redis_base_url: str
    sources: tuple[str, ...]
    suites: tuple[str, ...]

    @property
    def programs(self) -> list[str]:
        """What is wanted, in the order it is reported."""
        return [name for suite in self.suites for name in PROGRAMS[suite]]


@dataclass
class Outcome:
    """Where each program was found, and why the ways before failed."""

    found: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)


def main(argv: list[str] | None = None) -> int:
    """Find or fetch every program that is wanted; return the exit code."""
    options = _parse(argv)
    outcome = Outcome()
    for suite in options.suites:
        _find(suite, options, outcome)
    if all(name in outcome.found for name in options.programs):
        return _report(options, outcome)
    with _only_one(options.tools):
        for suite in options.suites:
            _find(suite, options, outcome)  # another run may have fetched it while we waited
            _fetch(suite, options, outcome)
    return _report(options, outcome)


def _parse(argv: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--tools-dir", type=Path, default=root / ".tools")
    parser.add_argument(
        "--prometheus-base-url",
        default="https://github.com/prometheus/prometheus/releases/download",
    )
    parser.add_argument("--redis-base-url", default="https://download.redis.io/releases")
    parser.add_argument(
        "--sources",
        default="path,debian,release",
        help="which ways may be used, of path, debian and release (default: all)",
    )
    parser.add_argument(
        "--only",
        choices=PROGRAMS,
        help=f"the one suite that is wanted (default: {' and '.join(DEFAULT_SUITES)})",
    )
    args = parser.parse_args(argv)
    return Options(
        tools=args.tools_dir.resolve(),
        prometheus_base_url=args.prometheus_base_url.rstrip("/"),
        redis_base_url=args.redis_base_url.rstrip("/"),
        sources=tuple(args.sources.split(",")),
        suites=(args.only,) if args.only else DEFAULT_SUITES,
    )


def _find(suite: str, options: Options, outcome: Outcome) -> None:
    """Look on PATH and in `.tools/bin`; starts nothing and downloads nothing."""
    for program in PROGRAMS[suite]:
        on_path = shutil.which(program) if "path" in options.sources else None
        ours = options.tools / "bin" / program
        if on_path:
            outcome.found[program] = on_path
        elif os.access(ours, os.X_OK):
            outcome.found[program] = str(ours)


def _fetch(suite: str, options: Options, outcome: Outcome) -> None:
    if all(name in outcome.found for name in PROGRAMS[suite]):
        return
    releases = {"prometheus": _prometheus_release, "redis": _redis_release}
    ways: dict[str, Callable[[], dict[str, Path]]] = {
        "debian": lambda: _debian(suite, options.tools)
    }
    if suite in releases:
        ways["release"] = lambda: releases[suite](options)
    reasons = outcome.reasons.setdefault(suite, [])
    for source, fetch in ways.items():
        if source not in options.sources:
            continue
        try:
            programs = fetch()
            for program, file in programs.items():
                _prove(program, file)
        except Unavailable as why:
            reasons.append(f"{source}: {why}")
            continue
        outcome.found.update(
            {name: str(_link(options.tools, name, file)) for name, file in programs.items()}
        )
        return


def _report(options: Options, outcome: Outcome) -> int:
    for name in options.programs:
        if name in outcome.found:
            print(f"{name}: {outcome.found[name]}")
    missing = [name for name in options.programs if name not in outcome.found]
    if not missing:
        return 0
    reasons = "; ".join(
        f"{suite}: {', '.join(why)}" for suite, why in outcome.reasons.items() if why
    )
    print(
        f"fetch_tools: missing {', '.join(missing)}: not on PATH; {reasons or 'no way was allowed'}"
        "; install them with your package manager and run this again",
        file=sys.stderr,
    )
    return EXIT_MISSING


@contextmanager
def _only_one(tools: Path) -> Iterator[None]:
    """Hold a lock, so that two runs at once do not unpack over each other."""
    tools.mkdir(parents=True, exist_ok=True)
    with (tools / ".fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _command(*argv: str, cwd: Path | None = None, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """Run a command and return what it printed; its last line of error when it fails."""
    if shutil.which(argv[0]) is None:
        raise Unavailable(f"{argv[0]} is not here")
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise Unavailable(f"{Path(argv[0]).name} ended with {done.returncode}: {lines[-1]}")
    return done.stdout


def _prove(program: str, file: Path) -> None:
    """Start the program once: a library that is missing must not wait until the first run."""
    if not os.access(file, os.X_OK):
        raise Unavailable(f"{program} was not in what was unpacked")
    _command(str(file), "--version", timeout_s=30)


def _link(tools: Path, program: str, file: Path) -> Path:
    """Put a program into `.tools/bin`: relative, so that the checkout can be moved."""
    link = tools / "bin" / program
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(file, link.parent))
    return link


# Debian packages


def _debian(suite: str, tools: Path) -> dict[str, Path]:
    """Download a package and the libraries it lacks here; unpack them; wrap what needs them."""
    home = tools / "debian"
    apt = _apt_options(home)
    package = DEBIAN_PACKAGES[suite]
    every = _command("apt-cache", *apt, "depends", "--recurse", package)
    wanted = debian_closure(every, package, _debian_installed())
    root = home / suite
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        debs, new = Path(scratch, "debs"), Path(scratch, "root")
        debs.mkdir()
        _command("apt-get", *apt, "-q", "download", *wanted, cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            _command("dpkg-deb", "-x", str(deb), str(new))
        shutil.rmtree(root, ignore_errors=True)
        new.rename(root)
    return {program: _wrapped(root, program) for program in PROGRAMS[suite]}


@functools.cache
def _apt_options(home: Path) -> tuple[str, ...]:
    """Return what makes apt work in `home` without root, after fetching its lists there once."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    options = (
        *("-o", f"Dir::State::Lists={home / 'lists'}"),
        *("-o", f"Dir::Cache={home / 'cache'}"),
        *("-o", "APT::Sandbox::User="),
    )
    _command("apt-get", *options, "-q", "update")
    return options


def _debian_installed() -> set[str]:
    listing = _command("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n")
    return {line.split()[0] for line in listing.splitlines() if line.endswith(" installed")}


def debian_closure(depends: str, package: str, installed: set[str]) -> list[str]:
    """Return the package, its tools and the shared libraries that are not installed here.

    Names come from apt, not from us: they change between releases (libssl3, libssl3t64).

    Args:
        depends: what `apt-cache depends --recurse` printed.
        package: the package to begin with.
        installed: names of the packages this system has.
    """
    needs: dict[str, list[str]] = {}
    current = ""
    alternative = False  # the line before was "|Depends", so this one is its substitute
    for line in depends.splitlines():
        match = re.match(r" +(\|?)(?:Pre)?Depends: (\S+)", line)
        if match:
            if not alternative:
                needs.setdefault(current, []).append(match[2])
            alternative = bool(match[1])
        elif not line.startswith(" "):
            current = line.strip()
    wanted: list[str] = []
    queue = [package]
    while queue:
        name = queue.pop(0)
        # The C library belongs to its loader: a second one beside it does not work.
        if name in wanted or name == "libc6" or (name != package and name in installed):
            continue
        wanted.append(name)
        queue += [n for n in needs.get(name, []) if re.match(r"lib|lua-|redis-", n)]
    # A web page's JavaScript is packaged as lib…, too.
    return [name for name in wanted if not name.startswith("libjs-")]


def _wrapped(root: Path, program: str) -> Path:
    """Return the program, or a wrapper that tells it where its libraries are."""
    binary = root / "usr/bin" / program
    folders = sorted({file.parent.relative_to(root) for file in root.rglob("*.so.*")})
    if not folders:
        return binary
    path = ":".join(f"$root/{folder}" for folder in folders)
    wrapper = root / program
    wrapper.write_text(
        "#!/bin/sh\n"
        'root=$(dirname "$(readlink -f "$0")")\n'
        f'LD_LIBRARY_PATH="{path}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"\n'
        "export LD_LIBRARY_PATH\n"
        f'exec "$root/usr/bin/{program}" "$@"\n',
        encoding="utf-8",
    )
    wrapper.chmod(0o755)
    return wrapper


# Official releases


def _system() -> str:
    """Return this machine as the release names do, linux-amd64 for one."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"{platform.system().lower()}-{machine}"


def _prometheus_release(options: Options) -> dict[str, Path]:
    system = _system()
    if system not in PROMETHEUS_SHA256:
        raise Unavailable(f"no pinned checksum of Prometheus {PROMETHEUS_VERSION} for {system}")
    name = f"prometheus-{PROMETHEUS_VERSION}.{system}"
    url = f"{options.prometheus_base_url}/v{PROMETHEUS_VERSION}/{name}.tar.gz"
    with _release(options.tools, url, PROMETHEUS_SHA256[system]) as unpacked:
        home = _keep(options.tools, name, [unpacked / name / p for p in PROGRAMS["prometheus"]])
    return {program: home / program for program in PROGRAMS["prometheus"]}


def _redis_release(options: Options) -> dict[str, Path]:
    for needed in ("make", "cc"):
        if shutil.which(needed) is None:
            raise Unavailable(f"{needed} is not here, and Redis is released as source")
    name = f"redis-{REDIS_VERSION}"
    url = f"{options.redis_base_url}/{name}.tar.gz"
    with _release(options.tools, url, REDIS_SHA256) as unpacked:
        source = unpacked / name / "src"
        # The system's allocator: bundled jemalloc takes as long to build as Redis itself.
        _command(
            "make", "-j2", "MALLOC=libc", "redis-server", cwd=source, timeout_s=BUILD_TIMEOUT_S
        )
        home = _keep(options.tools, name, [source / "redis-server"])
    return {"redis-server": home / "redis-server"}


@contextmanager
def _release(tools: Path, url: str, sha256: str) -> Iterator[Path]:
    """Download an archive, refuse it unless it has the pinned checksum, and unpack it."""
    with tempfile.TemporaryDirectory(dir=tools) as scratch:
        archive = Path(scratch, "archive.tar.gz")
        digest = hashlib.sha256()
        try:
            with (
                urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer,  # noqa: S310
                archive.open("wb") as out,
            ):
                while block := answer.read(1 << 20):
                    digest.update(block)
                    out.write(block)
        except (OSError, ValueError) as error:
            raise Unavailable(f"{url}: {error}") from error
        if digest.hexdigest() != sha256:
            raise Unavailable(
                f"{url} has SHA-256 {digest.hexdigest()}, pinned is {sha256}: refused"
            )
        unpacked = Path(scratch, "unpacked")
        with tarfile.open(archive) as tar:
            # Before 3.11.4 there is no filter; the checksum above already vouches for the content.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(unpacked, **safe)  # type: ignore[arg-type]  # noqa: S202
        yield unpacked


def _keep(tools: Path, name: str, programs: list[Path]) -> Path:
    home = tools / "release" / name
    home.mkdir(parents=True, exist_ok=True)
    for program in programs:
        if not program.is_file():
            raise Unavailable(f"the archive holds no {program.name}")
        shutil.copy2(program, home / program.name)
    return home


if __name__ == "__main__":
    sys.exit(main())
