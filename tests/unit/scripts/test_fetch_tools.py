"""Every way by which fetch_tools finds a program, and what it says when none works."""

import functools
import hashlib
import http.server
import importlib.util
import io
import os
import shutil
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts/fetch_tools.py"
PROGRAM = "#!/bin/sh\necho it is {}\n"
MAKEFILE = "redis-server:\n\tprintf '#!/bin/sh\\necho built\\n' > $@\n\tchmod +x $@\n"


@pytest.fixture
def fetch_tools() -> ModuleType:
    """The script as a module; fresh, so that a test may change its pins."""
    spec = importlib.util.spec_from_file_location("fetch_tools", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_tools"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def tarball(path: Path, files: dict[str, str]) -> str:
    """Write an archive of executable files; return its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.mode, member.size = 0o755, len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and keeps quiet about it."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A release site on loopback: its folder and its URL."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def release(
    fetch_tools: ModuleType,
    site: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], int]:
    """Both releases on the site, pinned; call it to fetch them into tmp_path/tools."""
    folder, url = site
    name = f"prometheus-{fetch_tools.PROMETHEUS_VERSION}.linux-amd64"
    monkeypatch.setattr(fetch_tools, "_system", lambda: "linux-amd64")
    sha256 = tarball(
        folder / f"v{fetch_tools.PROMETHEUS_VERSION}/{name}.tar.gz",
        {f"{name}/{program}": PROGRAM.format(program) for program in ("prometheus", "promtool")},
    )
    monkeypatch.setitem(fetch_tools.PROMETHEUS_SHA256, "linux-amd64", sha256)
    name = f"redis-{fetch_tools.REDIS_VERSION}"
    sha256 = tarball(folder / f"{name}.tar.gz", {f"{name}/src/Makefile": MAKEFILE})
    monkeypatch.setattr(fetch_tools, "REDIS_SHA256", sha256)
    return lambda: fetch_tools.main(
        [
            *("--tools-dir", str(tmp_path / "tools")),
            *("--sources", "release"),
            *("--prometheus-base-url", url, "--redis-base-url", url),
        ]
    )


needs_compiler = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="Redis is released as source"
)


@needs_compiler
def test_the_official_release_is_fetched_and_built(
    release: Callable[[], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both releases end as programs in bin/, and nothing of the download stays."""
    assert release() == 0

    lines = capsys.readouterr().out.splitlines()
    tools = tmp_path / "tools"
    assert lines == [f"{p}: {tools}/bin/{p}" for p in ("prometheus", "promtool", "redis-server")]
    assert all(os.access(line.split(": ")[1], os.X_OK) for line in lines)
    assert sorted(path.name for path in tools.iterdir()) == [".fetch.lock", "bin", "release"]


@needs_compiler
def test_a_second_run_downloads_nothing(
    release: Callable[[], int], site: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there is used, even when the site is gone."""
    assert release() == 0
    first = capsys.readouterr().out
    shutil.rmtree(site[0])

    assert release() == 0
    assert capsys.readouterr().out == first


def test_a_wrong_checksum_is_refused(
    release: Callable[[], int],
    fetch_tools: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A changed archive is never unpacked; the line has both checksums."""
    monkeypatch.setitem(fetch_tools.PROMETHEUS_SHA256, "linux-amd64", "0" * 64)

    assert release() == 69

    error = capsys.readouterr().err
    assert f"pinned is {'0' * 64}: refused" in error
    assert error.startswith("fetch_tools: missing prometheus, promtool")
    assert error.count("\n") == 1
    assert not (tmp_path / "tools/bin/prometheus").exists()


def test_a_release_that_is_not_there_is_said_so(
    release: Callable[[], int], site: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The line has the URL and the server's answer."""
    shutil.rmtree(site[0])
    site[0].mkdir()

    assert release() == 69

    error = capsys.readouterr().err
    assert f"{site[1]}/v" in error
    assert "404" in error
    assert error.count("\n") == 1


def test_a_system_without_a_pin_is_said_so(
    release: Callable[[], int],
    fetch_tools: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No checksum, no download."""
    monkeypatch.setattr(fetch_tools, "_system", lambda: "plan9-mips")

    assert release() == 69
    assert "no pinned checksum of Prometheus" in capsys.readouterr().err


def test_what_is_on_path_is_taken(
    fetch_tools: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Installed programs need no folder and no network."""
    for program in ("prometheus", "promtool", "redis-server"):
        (tmp_path / program).write_text(PROGRAM.format(program))
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert fetch_tools.main(["--tools-dir", str(tmp_path / "tools")]) == 0

    assert f"promtool: {tmp_path}/promtool" in capsys.readouterr().out
    assert not (tmp_path / "tools").exists()


def test_etcd_is_found_only_when_asked_for(
    fetch_tools: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Set-up leaves alone what only tests/cluster needs; asked for, it comes without the others."""
    for program in ("prometheus", "promtool", "redis-server", "etcd"):
        (tmp_path / program).write_text(PROGRAM.format(program))
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert fetch_tools.main([]) == 0
    assert "etcd" not in capsys.readouterr().out.replace(str(tmp_path), "")
    assert fetch_tools.main(["--only", "etcd"]) == 0
    assert capsys.readouterr().out == f"etcd: {tmp_path}/etcd\n"


def test_etcd_that_is_nowhere_is_one_line(
    fetch_tools: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 69, naming the only way there is besides PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert fetch_tools.main(["--tools-dir", str(tmp_path / "tools"), "--only", "etcd"]) == 69
    assert capsys.readouterr().err == (
        "fetch_tools: missing etcd: not on PATH; etcd: debian: apt-get is not here;"
        " install them with your package manager and run this again\n"
    )


def test_nothing_works_is_one_line(
    fetch_tools: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 69: what is missing, why each way failed, what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    closed = "http://127.0.0.1:9"  # the discard port: nobody listens

    code = fetch_tools.main(
        [
            *("--tools-dir", str(tmp_path / "tools")),
            *("--prometheus-base-url", closed, "--redis-base-url", closed),
        ]
    )

    assert code == 69
    error = capsys.readouterr().err
    assert error.startswith("fetch_tools: missing prometheus, promtool, redis-server: not on PATH")
    assert "debian: apt-get is not here" in error
    assert "release: " in error
    assert error.endswith("install them with your package manager and run this again\n")
    assert error.count("\n") == 1


def test_debian_packages_are_what_apt_says_less_what_is_installed(
    fetch_tools: ModuleType,
) -> None:
    """Names differ between releases, so they are read and not known; never a second libc."""
    depends = """\
redis-server
  PreDepends: init-system-helpers
  Depends: sysvinit-utils
  Depends: redis-tools
redis-tools
  Depends: adduser
  Depends: libc6
  Depends: libjemalloc2
 |Depends: libssl3t64
  Depends: libssl3
  Depends: libsystemd0
    libelogind0
  Breaks: redis-server
adduser
  Depends: libperl
libjemalloc2
  Depends: libc6
  Depends: libgcc-s1
"""
    found = fetch_tools.debian_closure(depends, "redis-server", {"libsystemd0", "redis-server"})

    assert found == ["redis-server", "redis-tools", "libjemalloc2", "libssl3t64", "libgcc-s1"]
