"""A fetch into a shared volume: looking at a whole version needs no right to write."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference_platform.local.models import cache, layout
from inference_platform.local.models.__main__ import main
from inference_platform.local.models.cache import Wanted
from inference_platform.local.models.errors import StoreError
from inference_platform.local.models.layout import StandIn

MODEL = StandIn("chat-fast", shards=2)
NOWHERE = "http://127.0.0.1:1"
WAIT_S_MAX = 20.0


def put(into: Path) -> Path:
    """Write a version as a file system that is linked to the bucket shows it; return the folder."""
    into.mkdir(parents=True)
    for name, raw in MODEL.files():
        (into / name).write_bytes(raw)
    (into / layout.MANIFEST).write_bytes(MODEL.manifest().to_json())
    return into


def wanted(into: Path, whole_s: float = WAIT_S_MAX) -> Wanted:
    """Return what the chart's init container asks for."""
    return Wanted(
        NOWHERE, MODEL.model, into, MODEL.version, verify=True, offline_ok=True, whole_s=whole_s
    )


def argv(into: Path, *flags: str) -> list[str]:
    """Return the command line of the chart's init container."""
    which = ["--model", MODEL.model, "--version", MODEL.version, "--into", str(into)]
    return ["fetch", "--store", NOWHERE, *which, "--verify", "--offline-ok", *flags]


each_refusal = pytest.mark.parametrize(
    "code", [errno.EACCES, errno.EROFS], ids=["of root", "read-only"]
)


def write_nothing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """From now on nothing can be written, as tests may run as root."""
    opened, made = Path.open, Path.mkdir

    def no(path: Path) -> OSError:
        return OSError(code, os.strerror(code), str(path))

    def only_read(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        if set(mode) & set("wax+"):
            raise no(path)
        return opened(path, mode, *more, **named)

    def only_there(path: Path, *more: Any, **named: Any) -> None:
        if not path.exists():
            raise no(path)
        made(path, *more, **named)

    monkeypatch.setattr(Path, "open", only_read)
    monkeypatch.setattr(Path, "mkdir", only_there)


@each_refusal
def test_whole_version_needs_no_right_to_write(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that S3's link made is root's: reading it is enough, and nothing is left in it."""
    into = put(tmp_path / "v1")
    before = sorted(into.iterdir())
    write_nothing(monkeypatch, code)

    assert main(argv(into)) == 0, capsys.readouterr().err
    assert sorted(into.iterdir()) == before


@each_refusal
@pytest.mark.parametrize(
    ("harm", "flaw"),
    [
        (lambda into: (into / layout.MANIFEST).unlink(), "no .*manifest.json"),
        (lambda into: (into / MODEL.shard_name(2)).unlink(), "00002.*is not the one of manifest"),
        (lambda into: (into / MODEL.shard_name(1)).write_bytes(bytes(65536)), "00001.*is not"),
        (lambda into: into.rename(into.with_name("v0")), "no .*manifest.json"),
    ],
    ids=["no manifest", "no shard", "spoilt shard", "no folder"],
)
def test_what_is_wrong_and_cannot_be_mended_is_told(
    harm: Callable[[Path], object],
    flaw: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line: which file is not the manifest's, and that nothing can be written in its place."""
    into = put(tmp_path / "v1")
    harm(into)
    write_nothing(monkeypatch, code)

    assert main(argv(into)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    expected = "expected chat-fast/v1 there and whole, or a directory to write to; found "
    assert f"{into}: {expected}" in error
    assert re.search(flaw, error.partition(expected)[2])
    assert error.rstrip().endswith(f", and {os.strerror(code)}")


@each_refusal
def test_directory_that_cannot_be_written_is_told(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a version by name the store must be asked, and what it says must be written."""
    write_nothing(monkeypatch, code)
    assert main(["fetch", "--store", NOWHERE, "--model", "chat", "--into", str(tmp_path)]) == 1
    found = f"{tmp_path}: expected a directory to write to; found {os.strerror(code)}"
    assert found in capsys.readouterr().err


def test_looking_waits_for_nobody(tmp_path: Path) -> None:
    """Pods check a whole version at the same time, whoever holds the lock."""
    into = put(tmp_path / "v1")
    with (into / cache.LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cache.fetch(wanted(into), lambda _: None) == MODEL.manifest()


def test_who_waited_for_a_download_checks_it_without_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all that waited would read the version one after the other, against one deadline."""
    into = tmp_path / "v1"
    into.mkdir()
    looked: list[str] = []
    is_whole = cache._is_whole

    def look(folder: Path, file: layout.File, *more: Any, **named: Any) -> bool:
        with (folder / cache.LOCK).open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        looked.append(file.name)
        return is_whole(folder, file, *more, **named)

    monkeypatch.setattr(cache, "_is_whole", look)
    said: list[str] = []
    found: list[layout.Manifest] = []
    waiting = threading.Thread(target=lambda: found.append(cache.fetch(wanted(into), said.append)))
    with (into / cache.LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting.start()
        deadline = time.monotonic() + WAIT_S_MAX
        while not said:
            assert time.monotonic() < deadline, "never waited"
            time.sleep(0.01)
        for name, raw in MODEL.files():
            (into / name).write_bytes(raw)
        (into / layout.MANIFEST).write_bytes(MODEL.manifest().to_json())
    waiting.join(WAIT_S_MAX)

    assert said == [f"Waiting for another fetch into {into}"]
    assert found == [MODEL.manifest()]
    assert looked == [file.name for file in MODEL.manifest().files]


@pytest.mark.parametrize(
    "harm",
    [
        lambda into: (into / MODEL.shard_name(1)).write_bytes(bytes(65536)),
        lambda into: (into / layout.MANIFEST).unlink(),
    ],
    ids=["spoilt shard", "no manifest"],
)
def test_look_that_another_fetch_made_old_is_taken_again(
    harm: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking takes minutes: what was mended meanwhile is whole, though the lock was free."""
    into = put(tmp_path / "v1")
    os.utime(into / layout.MANIFEST, (0, 0))
    harm(into)
    look, flaws = cache._look, list[str]()

    def long_look(*asked: Any) -> tuple[layout.Manifest | None, str]:
        found, flaw = look(*asked)
        flaws.append(flaw)
        if flaw:  # another fetch ends before this look does
            (into / layout.MANIFEST).unlink(missing_ok=True)
            for name, raw in MODEL.files():
                (into / name).write_bytes(raw)
            (into / layout.MANIFEST).write_bytes(MODEL.manifest().to_json())
        return found, flaw

    monkeypatch.setattr(cache, "_look", long_look)

    assert cache.fetch(wanted(into), lambda _: None) == MODEL.manifest()
    assert [bool(flaw) for flaw in flaws] == [True, False]


def test_reading_ends_at_the_deadline(tmp_path: Path) -> None:
    """Checking hundreds of GiB on a slow file system is no wait without a bound."""
    into = put(tmp_path / "v1")
    with pytest.raises(StoreError, match="expected it read in time, found all 1e-09 s used up"):
        cache.fetch(wanted(into, whole_s=1e-9), lambda _: None)
