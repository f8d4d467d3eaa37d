"""A disk that fills up at any of the places where a run writes: generated, not chosen."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from disks import watched
from pressed import end_of, is_left_as_it_should_be, unjudged
from rehearsal import rehearsal

from faultload.errors import ExitCode

pytestmark = [pytest.mark.local, pytest.mark.full]


@pytest.mark.parametrize("obeys", [True, False], ids=["child reverts", "child was killed"])
@pytest.mark.parametrize("once", [True, False], ids=["once", "for good"])
def test_no_place_leaves_harm_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, once: bool, obeys: bool
) -> None:
    """At each the harm goes, the code is right, `recover` does the rest, the record is whole."""
    unjudged(monkeypatch)
    stage = rehearsal(tmp_path, monkeypatch)
    with watched(tmp_path, monkeypatch) as disk:
        stage.run()
        is_left_as_it_should_be(stage)
        places: dict[tuple[str, ...], int] = {}
        for number, place in enumerate(disk.seen, start=1):
            places.setdefault((place[0].split("-engine-")[0], *place[1:]), number)
        assert len(places) > 40

        stage.obeys, disk.once, disk.error = obeys, once, errno.EIO if once else errno.ENOSPC
        for place, number in places.items():
            disk.writes, disk.fails_at = 0, number
            code, words = end_of(stage)
            assert stage.is_whole, (place, code, words)
            assert code in (ExitCode.INVALID, ExitCode.MISSING, ExitCode.USAGE), (place, words)
            assert "\n" not in words, place
            disk.empties()
            is_left_as_it_should_be(stage)
