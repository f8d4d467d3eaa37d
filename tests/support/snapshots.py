"""What is there before and after: (kind, name) → what is so of it."""

from __future__ import annotations

from typing import Any

Snapshot = dict[tuple[str, str], Any]


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Return a line for each thing that came, went or changed."""
    lines = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        if was != now:
            lines.append(f"{key}: {was} -> {now}")
    return lines
