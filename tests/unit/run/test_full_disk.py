"""A disk that fills up: one clear line, the right exit code, the harm gone, the rest later."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from disks import Disk, watched
from pressed import end_of, is_left_as_it_should_be, unjudged
from rehearsal import Stage, rehearsal

from faultload.errors import ExitCode, MissingError, UsageError
from faultload.record import RunDirectory
from faultload.run import room
from faultload.run.room import Room, check_room


class _Usage(NamedTuple):
    free: int


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a stage for runs in virtual time."""
    unjudged(monkeypatch)
    return rehearsal(tmp_path, monkeypatch)


@pytest.fixture
def disk(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Return the disk that state and reports are on."""
    assert stage.is_whole
    with watched(tmp_path, monkeypatch) as disk:
        yield disk


@pytest.mark.parametrize(
    ("name", "time", "code", "said"),
    [
        ("lock", 1, ExitCode.MISSING, "XDG_STATE_HOME"),
        ("experiment.yaml", 1, ExitCode.MISSING, "the run could not begin"),
        ("rows-0.jsonl", 5, ExitCode.INVALID, "the load client died"),
        ("injections.jsonl", 2, ExitCode.INVALID, "faultload recover"),
        ("injections.jsonl", 3, ExitCode.INVALID, "the journal cannot say so"),
        ("injections.jsonl", 7, ExitCode.INVALID, "the journal cannot say so"),
        ("requests.parquet", 1, ExitCode.INVALID, "could not be sealed"),
        ("verdict.json.partial", 1, ExitCode.MISSING, "faultload report"),
    ],
)
def test_disk_that_fills_up_ends_the_run_in_good_order(
    stage: Stage, disk: Disk, name: str, time: int, code: ExitCode, said: str
) -> None:
    """From that write on nothing can be written, and the harm goes all the same.

    Once there is room again `recover` does the rest; a run that never began leaves nothing.
    """
    disk.fills(name, time)

    ended, words = end_of(stage)

    assert stage.is_whole, "the harm is taken back on a full disk"
    assert (ended, "No space left on device" in words) == (code, True), words
    assert said in words
    disk.empties()
    is_left_as_it_should_be(stage)


def test_nothing_is_done_that_could_not_be_planned(stage: Stage, disk: Disk) -> None:
    """The plan, and that it begins, are on disk before the act; else there is no act."""
    for time in (1, 2):
        disk.fills("injections.jsonl", time)
        end_of(stage)
        assert not [act for act in stage.platform.acts if act[0] == "stop"]
        disk.empties()
        is_left_as_it_should_be(stage)


@pytest.mark.parametrize(("name", "time"), [("events.jsonl", 4), ("injections.jsonl", 5)])
def test_one_refusal_ends_the_run_as_invalid(
    stage: Stage, disk: Disk, name: str, time: int
) -> None:
    """A disk that fails once, for whatever reason, leaves a sealed record and no harm."""
    disk.once, disk.error = True, errno.EIO
    disk.fills(name, time)

    ended, words = end_of(stage)

    assert (ended, stage.is_whole) == (ExitCode.INVALID, True), words
    (run,) = (stage.plan.reports).iterdir()
    assert RunDirectory.open(run).tampered() == []
    disk.empties()
    is_left_as_it_should_be(stage)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EROFS])
def test_no_files_left_and_no_right_to_write_end_as_a_full_disk_does(
    stage: Stage, disk: Disk, number: int
) -> None:
    """Under a fault, for good: the harm goes, 3, the machine's own words, and `recover` later."""
    disk.error = number
    disk.fills("injections.jsonl", 3)

    ended, words = end_of(stage)

    assert (ended, stage.is_whole) == (ExitCode.INVALID, True), words
    assert os.strerror(number) in words
    disk.empties()
    is_left_as_it_should_be(stage)


def test_harm_goes_also_where_the_child_was_killed(stage: Stage, disk: Disk) -> None:
    """The supervisor takes back what the journal holds, though it can write nothing there."""
    stage.obeys = False
    disk.fills("injections.jsonl", 4)

    end_of(stage)

    assert stage.is_whole
    disk.empties()
    is_left_as_it_should_be(stage)


def test_run_ends_while_there_is_room_to_say_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that somebody else fills ends the run before anything is refused."""
    free = [10 * room.TO_GO_ON_BYTES]
    monkeypatch.setattr("faultload.run.room.shutil.disk_usage", lambda _: _Usage(free[0]))
    stage.clock.at(7.0, lambda: free.__setitem__(0, 2**20))

    ended, words = end_of(stage)

    assert ended == ExitCode.INVALID
    assert "1 MiB free on its disk, 16 are wanted: ended while there is room to say so" in words
    assert stage.is_whole
    (run,) = (stage.plan.reports).iterdir()
    assert RunDirectory.open(run).manifest().reason == words


def test_nothing_begins_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a platform is started: what is free, what is wanted, what to do."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    check_room(tmp_path / "not" / "there" / "yet")
    assert not (tmp_path / "not").exists(), "looking makes nothing"
    monkeypatch.setattr("faultload.run.room.shutil.disk_usage", lambda _: _Usage(2**20))

    with pytest.raises(MissingError, match="1 MiB free .* 64 are wanted to begin .*make room"):
        check_room(tmp_path / "reports")


def test_reports_in_a_file_are_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be one: the option that names another."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match="not writable; give --reports"):
        check_room(tmp_path / "file" / "reports")


def test_disk_that_cannot_be_asked_is_no_reason_to_end(tmp_path: Path) -> None:
    """What is wrong with it will show when it is written to."""
    assert Room(tmp_path / "gone").problem == ""
