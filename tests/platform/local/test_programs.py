"""Finding programs and reading what others answer."""

from pathlib import Path

import pytest

from inference_platform.local import probe, programs
from inference_platform.local.errors import MissingError


def executable(path: Path) -> Path:
    """Make a file that can be started."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty PATH, and no hint where tools are."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv(programs.TOOLS_VARIABLE, raising=False)


def test_tools_are_found_above_the_working_directory(tmp_path: Path) -> None:
    """A command given in a folder of the repository finds the repository's tools."""
    tool = executable(tmp_path / ".tools/bin/prometheus")
    deep = tmp_path / "a/b"
    deep.mkdir(parents=True)

    assert programs.find("prometheus", deep) == str(tool)


def test_path_comes_first(tmp_path: Path) -> None:
    """What the user installed wins over what was fetched."""
    executable(tmp_path / ".tools/bin/prometheus")
    installed = executable(tmp_path / "empty/prometheus")

    assert programs.find("prometheus", tmp_path) == str(installed)


def test_the_variable_names_the_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an installed package, whose working directory is anywhere."""
    tool = executable(tmp_path / "elsewhere/bin/redis-server")
    monkeypatch.setenv(programs.TOOLS_VARIABLE, str(tmp_path / "elsewhere"))

    assert programs.find("redis-server", tmp_path) == str(tool)


def test_a_missing_program_says_what_to_do(tmp_path: Path) -> None:
    """Exit code 69 and the script that fetches it."""
    with pytest.raises(MissingError, match=r"redis-server is not on PATH.*make setup") as missing:
        programs.find("redis-server", tmp_path)

    assert missing.value.exit_code == 69


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('vllm:num_requests_running{e="0"} 3.0\nvllm:num_requests_waiting{e="0"} 2.0\n', 5),
        ("# nothing\n", None),
    ],
)
def test_requests_in_flight_are_running_and_waiting(text: str, expected: int | None) -> None:
    """No series means not known, never 0."""
    assert probe.in_flight(text) == expected
