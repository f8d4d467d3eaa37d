"""Freeze windows: once or weekly, by the clocks of their own zone, also when those are set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultload.errors import SpecError
from faultload.spec import load_target
from faultload.spec.guards import Freeze

BERLIN = ZoneInfo("Europe/Berlin")
WEEKEND = Freeze(weekly="Fri 16:00 - Mon 08:00", time_zone="Europe/Berlin", why="nobody is there")


def utc(text: str) -> datetime:
    """Return a moment."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(freeze: Freeze, begin: str, end: str = "") -> tuple[str, str] | None:
    """Return the window that a run would touch, in UTC."""
    found = freeze.window(utc(begin), utc(end or begin))
    if found is None:
        return None
    first, last = (one.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") for one in found)
    return first, last


@pytest.mark.parametrize(
    ("begin", "end", "touches"),
    [
        ("2026-12-20T16:59:59", "2026-12-20T16:59:59", False),
        ("2026-12-20T17:00:00", "2026-12-20T17:00:00", True),
        ("2026-12-26T06:59:59", "2026-12-26T06:59:59", True),
        ("2026-12-26T07:00:00", "2026-12-26T07:00:00", False),
        ("2026-12-20T16:50:00", "2026-12-20T17:00:00", True),
        ("2026-12-01T00:00:00", "2026-12-31T00:00:00", True),
    ],
)
def test_one_window_has_its_begin_and_not_its_end(begin: str, end: str, touches: bool) -> None:
    """What begins in it, ends in it or lasts over all of it touches it."""
    freeze = Freeze.model_validate(
        {"from": "2026-12-20T18:00:00+01:00", "until": "2026-12-26T08:00:00+01:00", "why": "sale"}
    )
    assert (window(freeze, begin, end) is not None) is touches


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        ("2026-11-20T14:59", None),
        ("2026-11-20T15:00", ("2026-11-20T15:00", "2026-11-23T07:00")),
        ("2026-11-22T12:00", ("2026-11-20T15:00", "2026-11-23T07:00")),
        ("2026-11-23T06:59", ("2026-11-20T15:00", "2026-11-23T07:00")),
        ("2026-11-23T07:00", None),
        ("2026-07-17T14:00", ("2026-07-17T14:00", "2026-07-20T06:00")),
    ],
)
def test_weekly_window_goes_by_the_clocks_there(
    begin: str, expected: tuple[str, str] | None
) -> None:
    """In summer it begins an hour earlier by ours; it goes over the week's end."""
    assert window(WEEKEND, begin) == expected


def test_run_that_would_end_in_the_next_window_touches_it() -> None:
    """Friday afternoon is too late for a long run."""
    assert window(WEEKEND, "2026-11-20T14:30", "2026-11-20T14:59") is None
    found = window(WEEKEND, "2026-11-20T14:30", "2026-11-20T15:10")
    assert found == ("2026-11-20T15:00", "2026-11-23T07:00")


def test_hour_that_is_there_twice_is_frozen_twice_and_one_that_is_not_on_both_sides() -> None:
    """On the nights when clocks are set, a window is never shorter than anybody meant."""
    night = Freeze(weekly="Sun 02:30 - Sun 02:45", time_zone="Europe/Berlin", why="backup")
    assert window(night, "2026-10-25T00:30") == ("2026-10-25T00:30", "2026-10-25T01:45")
    assert window(night, "2026-03-29T01:30") == ("2026-03-29T00:30", "2026-03-29T01:45")


def test_moments_of_its_own_zone_are_not_compared_as_clocks_show_them() -> None:
    """02:50 comes twice that night; only its first time is before the window's end."""
    freeze = Freeze(weekly="Sun 00:00 - Sun 02:30", time_zone="Europe/Berlin", why="backup")
    second = datetime(2026, 10, 25, 2, 20, fold=1, tzinfo=BERLIN)
    assert freeze.window(second, second) is not None
    late = datetime(2026, 10, 25, 2, 40, fold=1, tzinfo=BERLIN)
    assert freeze.window(late, late) is None


@given(st.integers(0, 3 * 366 * 1440), st.integers(0, 20_000))
def test_windows_found_are_those_of_every_minute(since: int, minutes: int) -> None:
    """A stretch touches a window exactly where its clocks show a time within one."""
    first = utc("2025-01-01") + timedelta(minutes=since)
    last = first + timedelta(minutes=minutes)
    step = timedelta(minutes=max(1, minutes // 50))

    def shown(moment: datetime) -> bool:
        there = moment.astimezone(BERLIN)
        since_monday = (there.weekday(), there.hour, there.minute)
        return since_monday >= (4, 16, 0) or since_monday < (0, 8, 0)

    found = WEEKEND.window(first, last)
    seen = [first + n * step for n in range((last - first) // step + 1)]
    if any(map(shown, seen)):
        assert found is not None
    if found is not None:
        assert shown(max(first, found[0]))


@pytest.mark.parametrize(
    ("entry", "key", "said"),
    [
        ("{weekly: 'Fri 16:00 - Mon 08:00', why: x}", "freeze[0]", "'weekly' and 'time_zone'"),
        ("{why: x}", "freeze[0]", "expected 'from' and 'until', or"),
        ("{from: 2026-12-20T18:00:00Z, why: x}", "freeze[0]", "expected 'from' and 'until'"),
        (
            "{from: 2026-12-20T18:00:00Z, until: 2026-12-20T18:00:00Z, why: x}",
            "freeze[0]",
            "expected 'from' before 'until'",
        ),
        (
            "{from: 2026-12-20 18:00:00, until: 2026-12-26T08:00:00Z, why: x}",
            "from",
            "with its zone",
        ),
        ("{from: 2026-12-20, until: 2026-12-26T08:00:00Z, why: x}", "from", "its zone"),
        ("{from: 1790000000, until: 2026-12-26T08:00:00Z, why: x}", "from", "with its zone"),
        ("{from: '5', until: 2026-12-26T08:00:00Z, why: x}", "from", "with its zone"),
        ("{weekly: 'Fri 4pm - Mon', time_zone: UTC, why: x}", "weekly", "'Fri 16:00 - Mon 08:00'"),
        ("{weekly: 'Fri 24:00 - Mon 08:00', time_zone: UTC, why: x}", "weekly", "expected such as"),
        ("{weekly: 'Fri 16:00 - Fri 16:00', time_zone: UTC, why: x}", "weekly", "always, or never"),
        (
            "{weekly: 'Fri 16:00 - Mon 08:00', time_zone: CEST, why: x}",
            "time_zone",
            "Europe/Berlin",
        ),
        (
            "{weekly: 'Fri 16:00 - Mon 08:00', time_zone: ../x, why: x}",
            "time_zone",
            "Europe/Berlin",
        ),
        ("{weekly: 'Fri 16:00 - Mon 08:00', time_zone: UTC}", "why", "required"),
        ("{weekly: 'Fri 16:00 - Mon 08:00', time_zone: UTC, why: ''}", "why", "at least 1"),
    ],
)
def test_window_that_nobody_can_read_is_an_error(
    tmp_path: Path, entry: str, key: str, said: str
) -> None:
    """A freeze that was misread would be none: the file and the key are named."""
    path = tmp_path / "t.yaml"
    path.write_text(f"name: t\nkind: local\nlocal: {{config: x}}\nfreeze: [{entry}]\n")

    with pytest.raises(SpecError, match=said) as caught:
        load_target(path)

    assert key in caught.value.key


def test_system_without_time_zones_is_told_apart_from_a_misspelt_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a small image a right name is refused too, with what is missing there."""
    monkeypatch.setattr("faultload.spec.guards.available_timezones", set)
    path = tmp_path / "t.yaml"
    entry = "{weekly: Fri 16:00 - Mon 08:00, time_zone: Europe/Nowhere, why: x}"
    path.write_text(f"name: t\nkind: local\nlocal: {{config: x}}\nfreeze: [{entry}]\n")

    with pytest.raises(SpecError, match="this system knows none: install tzdata"):
        load_target(path)


def test_windows_survive_being_kept_in_a_record(tmp_path: Path) -> None:
    """The chaos process reads the target file that the record has."""
    path = tmp_path / "t.yaml"
    path.write_text(
        "name: t\nkind: local\nlocal: {config: x}\nproduction: true\ndanger_max: 3\nfreeze:\n"
        "  - {weekly: 'Fri 16:00 - Mon 08:00', time_zone: Europe/Berlin, why: weekend}\n"
        "  - {from: 2026-12-20T18:00:00+01:00, until: 2026-12-26T08:00:00+01:00, why: sale}\n"
        "preflight:\n  - {name: on-call, command: [./ask.sh, acked], environment: [PAGER_TOKEN]}\n"
    )
    read = load_target(path)

    path.write_text(read.model_dump_json(by_alias=True), encoding="utf-8")

    assert load_target(path) == read
