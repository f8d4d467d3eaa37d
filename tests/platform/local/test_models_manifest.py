"""A folder of weights becomes a version: what is said of it is what a fetch asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_platform.local.models.__main__ import main
from inference_platform.local.models.layout import MANIFEST, StandIn, read_manifest


def _folder(tmp_path: Path, stand_in: StandIn) -> Path:
    for name, content in stand_in.files():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_manifest_is_that_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, sizes and checksums are those that a store publishes; twice changes nothing."""
    stand_in = StandIn("chat-fast", "v1", shards=2)
    folder = _folder(tmp_path, stand_in)
    (folder / ".cache").mkdir()  # what downloaded it keeps its own there
    for _ in range(2):
        assert main(["manifest", str(folder), "--model=chat-fast", "--version=v1"]) == 0
        found = read_manifest((folder / MANIFEST).read_bytes(), "here")
        assert set(found.files) == set(stand_in.manifest().files)
        assert (found.model, found.version) == ("chat-fast", "v1")
    assert "3 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (None, "expected the files of a model, found none"),
        ("original/", "expected plain files only"),
        ("a b.bin", "expected plain file names, found 'a b.bin'"),
    ],
    ids=["empty", "folder", "name"],
)
def test_what_could_not_be_fetched_is_refused(
    tmp_path: Path, inside: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, before gigabytes are copied to a bucket."""
    if inside and inside.endswith("/"):
        (tmp_path / inside).mkdir()
    elif inside:
        (tmp_path / inside).write_bytes(b"x")
    assert main(["manifest", str(tmp_path), "--model=chat-fast", "--version=v1"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / MANIFEST).exists()


def test_no_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there is named."""
    gone = str(tmp_path / "gone")
    assert main(["manifest", gone, "--model=chat-fast", "--version=v1"]) == 1
    assert gone in capsys.readouterr().err
