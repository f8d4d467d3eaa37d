"""Numbers and times as people read them. Nothing else in the report turns a number into text.

Inside are seconds and 0-1 ratios; here they become milliseconds and percent. A missing number
(None or NaN) becomes "no data", and a number that is not zero never reads as zero.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

NO_DATA = "no data"
THIN = "\N{NARROW NO-BREAK SPACE}"
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Return `text` with each character that XML and HTML forbid turned into U+FFFD."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)


def is_missing(value: float | None) -> bool:
    """None and NaN are missing; zero and infinity are not."""
    return value is None or math.isnan(value)


def number(value: float | None, digits: int = 3) -> str:
    """Return `value` with `digits` significant digits and thousands apart, no exponent."""
    if value is None or math.isnan(value):
        return NO_DATA
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    if decimals > 6:
        return "<0.000001" if value > 0 else ">-0.000001"
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(value: float | None) -> str:
    """Return a whole number with thousands apart."""
    if value is None or math.isnan(value):
        return NO_DATA
    return f"{value:,.0f}"


def milliseconds(seconds: float | None) -> str:
    """Return seconds as milliseconds: `412 ms`."""
    if seconds is None or math.isnan(seconds):
        return NO_DATA
    if math.isinf(seconds):
        return "∞"
    value = seconds * 1000
    return f"{value:,.0f}{THIN}ms" if abs(value) >= 10 else f"{number(value, 2)}{THIN}ms"


def seconds(value: float | None) -> str:
    """Return seconds with one decimal, none from 100 s on, two digits under 1 s: `12.4 s`."""
    if value is None or math.isnan(value):
        return NO_DATA
    if math.isinf(value):
        return "∞"
    if 0 < abs(value) < 1:
        return f"{number(value, 2)}{THIN}s"
    return f"{value:,.{0 if abs(value) >= 100 else 1}f}{THIN}s"


def offset(value: float | None) -> str:
    """Return a moment of the run: `+31.2 s`."""
    if value is None or math.isnan(value):
        return NO_DATA
    return f"{value:+,.1f}{THIN}s"


def percent(ratio: float | None) -> str:
    """Return a 0-1 ratio in percent: `1.25 %`."""
    return NO_DATA if ratio is None else percent_points(ratio * 100)


def percent_points(value: float | None) -> str:
    """Return a number that is percent already, more digits where it is small: `0.0014 %`."""
    if value is None or math.isnan(value):
        return NO_DATA
    if 0 < value < 0.0001:
        return f"<0.0001{THIN}%"
    if 0 < value < 0.01:
        return f"{number(value, 2)}{THIN}%"
    text = f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{text.rstrip('0').rstrip('.')}{THIN}%"


def plural(value: int, noun: str) -> str:
    """Return `1 stream`, `2 streams`."""
    return f"{count(value)} {noun}" if value == 1 else f"{count(value)} {noun}s"


def clock_time(unix_s: float | None, *, date: bool = False) -> str:
    """Return UTC wall time to the millisecond, with the date if asked."""
    if unix_s is None or math.isnan(unix_s):
        return NO_DATA
    try:
        moment = datetime.fromtimestamp(unix_s, UTC)
    except (OverflowError, OSError, ValueError):
        return NO_DATA
    text = moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    return moment.strftime("%Y-%m-%d ") + text if date else text


def timestamp(unix_s: float) -> str:
    """Return UTC wall time in ISO 8601, to the second; machines read it."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def words(name: str) -> str:
    """Return an identifier as words: `timeout_first_token` → `timeout first token`."""
    return name.replace("_", " ").strip()


def heading(name: str) -> str:
    """Return an identifier as words that begin with a capital."""
    text = words(name)
    return text[:1].upper() + text[1:]
