"""Where a Kubernetes control plane is looked for, how it is built, and what is said without."""

from __future__ import annotations

import threading
from pathlib import Path

import kube_binaries
import pytest

ETCD_AND_APISERVER = ("etcd", "kube-apiserver")
EVERY = (*ETCD_AND_APISERVER, "kube-controller-manager", "kube-scheduler")
GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.26; exit; fi
echo built >>"$BUILDS"
while [ "$1" != -o ]; do shift; done
echo program >"$2"
"""


def programs(folder: Path, *names: str, text: str = "#!/bin/sh\n") -> str:
    """Put programs into a folder; return the folder."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one empty folder, and a cache of our own."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BUILDS", str(tmp_path / "builds"))
    monkeypatch.setenv("PATH", programs(tmp_path / "path"))
    return tmp_path / "path"


def test_assets_come_before_path(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sets KUBEBUILDER_ASSETS gets its programs, and no controllers of another release."""
    programs(path, *EVERY, "go")
    assets = programs(tmp_path / "assets", *ETCD_AND_APISERVER)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", assets)

    found = kube_binaries.find()

    assert found.apiserver == (f"{assets}/kube-apiserver",)
    assert found.etcd == (f"{assets}/etcd",)
    assert found.controller_manager is None
    assert found.scheduler is None


@pytest.mark.parametrize("lacking", ETCD_AND_APISERVER)
def test_assets_that_lack_a_program_are_said_so(
    lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that leads nowhere is not passed over."""
    assets = programs(tmp_path / "assets", *(set(EVERY) - {lacking}))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", assets)

    with pytest.raises(kube_binaries.Missing, match=rf"{assets}, found no {lacking}; fill it"):
        kube_binaries.find()


def test_path_comes_before_a_build(path: Path) -> None:
    """Installed programs spare the build."""
    programs(path, *EVERY, "go")

    found = kube_binaries.find()

    assert found.scheduler == (f"{path}/kube-scheduler",)
    assert found.source == "PATH"
    assert found.built_s is None


def test_nothing_at_all_says_what_to_install(path: Path) -> None:
    """One line that names each way, and the version of Go that is needed."""
    with pytest.raises(kube_binaries.Missing) as missing:
        kube_binaries.find()

    text = str(missing.value)
    assert "KUBEBUILDER_ASSETS is not set, kube-apiserver is not on PATH" in text
    assert "install Go 1.26.0 or later" in text
    assert "\n" not in text


def test_go_builds_once(path: Path, tmp_path: Path) -> None:
    """The second time it is in the cache, and is not said to have been built."""
    programs(path, "etcd")
    programs(path, "go", text=GO)
    said: list[str] = []

    first, second = kube_binaries.find(said.append), kube_binaries.find(said.append)

    assert first.built_s is not None
    assert second.built_s is None
    assert first.apiserver == second.apiserver
    assert Path(first.apiserver[0]).parent == tmp_path / "cache/faultload"
    assert (tmp_path / "builds").read_text() == "built\n"
    assert len(said) == 1


def test_two_runs_at_once_build_once(path: Path, tmp_path: Path) -> None:
    """The one that comes second waits for the first one's program."""
    programs(path, "etcd")
    programs(path, "go", text=GO)
    both = threading.Barrier(2, timeout=30)

    def run() -> None:
        both.wait()
        kube_binaries.find()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert (tmp_path / "builds").read_text() == "built\n"


def test_a_build_that_fails_is_no_skip(path: Path, tmp_path: Path) -> None:
    """The compiler's last words are told, and nothing is kept that could be taken for a program."""
    programs(path, "etcd")
    programs(path, "go", text='#!/bin/sh\n[ "$1" = env ] || { echo no room left >&2; exit 1; }\n')

    with pytest.raises(RuntimeError, match=r"go build in .* ended with 1:\nno room left"):
        kube_binaries.find()
    assert [p.name for p in (tmp_path / "cache/faultload").iterdir()] == ["controlplane.lock"]


def test_a_lack_is_a_skip_unless_a_cluster_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CI must run cannot be passed over there."""
    monkeypatch.delenv("FAULTLOAD_REQUIRE_CLUSTER", raising=False)
    assert isinstance(kube_binaries.absence("no etcd"), pytest.skip.Exception)
    monkeypatch.setenv("FAULTLOAD_REQUIRE_CLUSTER", "1")
    assert isinstance(kube_binaries.absence("no etcd"), pytest.fail.Exception)
