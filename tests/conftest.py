"""For all tests."""

from __future__ import annotations

from hypothesis import settings

# A machine that is busy, or paused, is no fault of what is tested.
settings.register_profile("rescue", deadline=None)
settings.load_profile("rescue")
