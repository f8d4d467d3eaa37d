"""What a target file says about when, and with whose word, it may be harmed."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AwareDatetime, BeforeValidator, Field, field_validator, model_validator

from faultload.spec.reading import Spec

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MOMENT = rf"({'|'.join(_DAYS)}) ([01]\d|2[0-3]):([0-5]\d)"
_WEEKLY = re.compile(rf"{_MOMENT} - {_MOMENT}")
_WEEK = timedelta(days=7)


def _as_written(value: Any) -> Any:
    """Return what YAML made of a time; not of a number, which pydantic takes for one as well."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            f"expected a time with its zone, such as 2026-12-20T18:00:00+01:00, found '{value}'"
        )
    return moment


_Moment = Annotated[AwareDatetime, BeforeValidator(_as_written)]


class Freeze(Spec):
    """A time in which nothing is broken: once (`from`, `until`), or every week (`weekly`)."""

    from_: _Moment | None = Field(default=None, alias="from")
    until: _Moment | None = None
    """No longer part of it."""
    weekly: str = ""
    """`Fri 16:00 - Mon 08:00`, of the clocks of"""
    time_zone: str = ""
    """this zone, by its IANA name."""
    why: str = Field(min_length=1)
    """Told to whoever is refused."""

    @field_validator("weekly")
    @classmethod
    def _is_a_window(cls, text: str) -> str:
        found = _WEEKLY.fullmatch(text)
        if text and found is None:
            raise ValueError(f"expected such as 'Fri 16:00 - Mon 08:00', found {text!r}")
        if found and found.groups()[:3] == found.groups()[3:]:
            raise ValueError(f"it begins when it ends, found {text!r}: always, or never?")
        return text

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name or "UTC")
        except (OSError, ValueError, KeyError):
            hint = "" if available_timezones() else "; this system knows none: install tzdata"
            raise ValueError(
                f"expected the name of a time zone, such as Europe/Berlin, found {name!r}{hint}"
            ) from None
        return name

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        once, weekly = (self.from_, self.until), (self.weekly, self.time_zone)
        if all(once) and not any(weekly):
            if once[0] >= once[1]:  # type: ignore[operator]  # neither is None here
                raise ValueError(f"expected 'from' before 'until', found {once[0]} and {once[1]}")
        elif not all(weekly) or any(once):
            raise ValueError("expected 'from' and 'until', or 'weekly' and 'time_zone'")
        return self

    def window(self, begin: datetime, end: datetime) -> tuple[datetime, datetime] | None:
        """Return the first window that what lasts from `begin` to `end` would touch; None: none.

        All aware. The window is in its own time zone, and does not contain its end.
        """
        for first, last in self._windows(begin, end):
            # As moments: two times of one zone would be compared as its clocks show them.
            if first.timestamp() <= end.timestamp() and begin.timestamp() < last.timestamp():
                return first, last
        return None

    def _windows(self, begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """Return those that may be touched, by time."""
        if self.from_ and self.until:
            return [(self.from_, self.until)]
        zone, words = ZoneInfo(self.time_zone), _WEEKLY.fullmatch(self.weekly)
        assert words is not None  # noqa: S101  # validated
        first, last = _in_week(*words.groups()[:3]), _in_week(*words.groups()[3:])
        length = (last - first) % _WEEK
        here = begin.astimezone(zone)
        monday = datetime.combine(here.date() - timedelta(days=here.weekday()), time())
        weeks = range(-1, (end - begin) // _WEEK + 2)
        starts = [monday + week * _WEEK + first for week in weeks]
        return [(_moments(zone, start)[0], _moments(zone, start + length)[-1]) for start in starts]


class Preflight(Spec):
    """A program that may veto a run: it ends with 0, or nothing is broken."""

    name: str = Field(min_length=1)
    command: list[str] = Field(min_length=1)
    """Program and arguments; no shell. It starts in the target file's folder."""
    timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Ended then, which is a veto."""
    environment: list[str] = Field(default_factory=list)
    """Names of variables that it gets beside PATH, HOME, LANG and TZ; never their values."""

    @field_validator("environment")
    @classmethod
    def _are_names(cls, names: list[str]) -> list[str]:
        # What was found is not said: it may be a value.
        if not all(name.isascii() and name.isidentifier() for name in names):
            raise ValueError("expected NAMES of environment variables, never what they hold")
        return names


def _in_week(day: str, hour: str, minute: str) -> timedelta:
    return timedelta(days=_DAYS.index(day), hours=int(hour), minutes=int(minute))


def _moments(zone: ZoneInfo, there: datetime) -> list[datetime]:
    """Return when the clocks there show a time: as one moment, unless they are set just then.

    Set back, they show it twice; set forward, never, and either side of the gap may be meant.
    """
    found = (there.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    return [datetime.fromtimestamp(moment, zone) for moment in sorted(found)]
