"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from faultload.report import formats


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_number_is_never_zero(missing: float | None) -> None:
    """None and NaN read "no data" in every unit."""
    shown = [
        f(missing)
        for f in (
            formats.number,
            formats.count,
            formats.milliseconds,
            formats.seconds,
            formats.offset,
            formats.percent,
            formats.percent_points,
            formats.clock_time,
        )
    ]

    assert set(shown) == {"no data"}


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.milliseconds(0.4123), "412 ms"),
        (formats.milliseconds(0.0042), "4.2 ms"),
        (formats.milliseconds(12.3), "12,300 ms"),
        (formats.milliseconds(math.inf), "∞"),
        (formats.seconds(13.84), "13.8 s"),
        (formats.seconds(0.04), "0.04 s"),
        (formats.seconds(250.4), "250 s"),
        (formats.percent(0.0125), "1.25 %"),
        (formats.percent(0), "0 %"),
        (formats.percent(0.000014), "0.0014 %"),
        (formats.percent(1e-8), "<0.0001 %"),
        (formats.percent_points(123.456), "123.5 %"),
        (formats.number(1234567), "1,234,567"),
        (formats.number(0.000123), "0.000123"),
        (formats.number(1e-12), "<0.000001"),
        (formats.number(-0.0), "0"),
        (formats.number(math.inf), "∞"),
        (formats.offset(-1.5), "-1.5 s"),
        (formats.plural(1, "stream"), "1 stream"),
        (formats.clock_time(0.25, date=True), "1970-01-01 00:00:00.250"),
        (formats.clock_time(1e20), "no data"),
    ],
)
def test_units_and_rounding(shown: str, expected: str) -> None:
    """Seconds become milliseconds, ratios percent, and nothing but zero reads as zero."""
    assert shown.replace(formats.THIN, " ") == expected


def test_clean_replaces_what_xml_forbids() -> None:
    """Control characters and lone surrogates are replaced; tabs, newlines and emoji stay."""
    assert formats.clean("a\x00b\x1b[31m\ud800\ufffe\t\n🚀") == "a�b�[31m��\t\n🚀"
