"""Where the program starts. The process of a job is started before most of the program itself is loaded, to load beside it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from rescue.errors import RescueError
from rescue.jobs.spawn import Standby

# These begin with much work, in a process that takes time to load.
_HEAVY: Final = ("backup", "restore", "verify", "clone")


def main() -> int:
    """Run the command that the arguments of this process name; its exit code."""
    gc.set_threshold(100_000)  # what is loaded stays: looking through it for rubbish is time lost
    standby = wanted(sys.argv[1:])
    from rescue.cli.main import main as run
    from rescue.services.local import LocalMachine

    code = run(machine=partial(LocalMachine, standby=standby))
    gc.freeze()  # the interpreter would look through all that is loaded once more at its end
    return code


def wanted(argv: Sequence[str]) -> Standby | None:
    """A process that stands by, when the arguments look as if a job came of them."""
    kind = argv[0] if argv else ""
    if kind not in _HEAVY or {"--dry-run", "--help", "-h"} & set(argv):
        return None
    with suppress(RescueError):  # said when the job is started
        return Standby(kind)
    return None
