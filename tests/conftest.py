"""Settings for every test."""

from __future__ import annotations

from hypothesis import settings

# The default deadline of 200 ms would make a slow machine a failing test.
settings.register_profile("faultload", deadline=None)
settings.load_profile("faultload")
