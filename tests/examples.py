"""How many examples property tests try: a few in each run (others each time, but in CI), and many in the long run."""

from __future__ import annotations

import os
from typing import Final

_MANY: Final = "RESCUE_MANY_EXAMPLES"


def examples(many: int) -> int:
    """``many`` in the long run (``make test-long``), a quarter of them else."""
    return many if os.environ.get(_MANY) else max(many // 4, 25)
