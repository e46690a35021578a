"""For all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# A machine that is busy, or paused, is no fault of what is tested. CI tells what a change broke, so it takes the same examples
# each time; runs by hand, and those with many examples, look for new ones.
settings.register_profile("rescue", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("rescue")
