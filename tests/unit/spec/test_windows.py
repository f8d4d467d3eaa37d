"""Burn-rate windows: data with a source, read strictly, and what follows from them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from faultload.errors import SpecError
from faultload.spec.windows import Window, load_windows

_TEXT = """\
source: somebody
runbook: docs/slos.md
windows:
  - {severity: page, burn_rate: 14.4, long: 1h, short: 5m}
  - {severity: ticket, burn_rate: 1, long: 3d, short: 6h}
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "windows.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_windows_are_read_with_their_source(tmp_path: Path) -> None:
    """Every length that a ratio is needed over comes once, shortest first."""
    found = load_windows(_write(tmp_path, _TEXT))

    assert found.source == "somebody"
    assert found.durations == ["5m", "1h", "6h", "3d"]


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("source: somebody\n", "", "source", "required and missing"),
        ("burn_rate: 14.4", "burnrate: 14.4", "windows[0].burnrate", "did you mean 'burn_rate'?"),
        (
            "burn_rate: 14.4",
            "burn_rate: 0",
            "windows[0].burn_rate",
            "expected more than 0, found 0",
        ),
        ("severity: page", "severity: pager", "windows[0].severity", "did you mean 'page'?"),
        ("long: 1h", "long: 1 hour", "windows[0].long", "found '1 hour'"),
        ("long: 1h", "long: 90d", "windows[0].long", "up to 31 days"),
        ("short: 5m", "short: 1h", "windows[0]", "expected `short` to be shorter than `long`"),
        ("long: 1h", "long: 3d", "windows", "found 3d twice"),
        ("windows:", "windows: []\nrest:", "rest", "unknown key 'rest'"),
    ],
)
def test_wrong_windows_say_where(tmp_path: Path, old: str, new: str, key: str, says: str) -> None:
    """A window that is mistaken would page late or never: it is refused, with file and key."""
    path = _write(tmp_path, _TEXT.replace(old, new))

    with pytest.raises(SpecError) as caught:
        load_windows(path)
    assert caught.value.key == key
    assert says in str(caught.value)


def test_no_file_says_what_it_is_for(tmp_path: Path) -> None:
    """Without windows there are no alerts, and that is no default of ours."""
    with pytest.raises(SpecError, match=r"no such file; it says when a burning budget alerts"):
        load_windows(tmp_path / "windows.yaml")


@pytest.mark.parametrize(
    ("budget", "bad", "seconds"),
    [(0.001, 1.0, 51.84), (0.005, 1.0, 259.2), (0.005, 0.5, 518.4), (0.05, 1.0, 2592.0)],
)
def test_time_to_fire_follows_from_budget_and_outage(
    budget: float, bad: float, seconds: float
) -> None:
    """At 99.9 % a total outage pages after 52 s; at 95 % it needs 43 minutes."""
    window = Window(severity="page", burn_rate=14.4, long="1h", short="5m")

    assert window.fires_after_s(budget, bad) == pytest.approx(seconds)


def test_a_budget_too_large_never_fires() -> None:
    """At 90 % a budget burns ten times too fast at most, which 14.4 is never reached by."""
    window = Window(severity="page", burn_rate=14.4, long="1h", short="5m")

    assert window.fires_after_s(0.1) == math.inf
