"""The local platform's releases and weights."""

from __future__ import annotations

from faultload.targets.release_acts import NoReleaseActs


class LocalReleases(NoReleaseActs):
    """That part of a local target."""
