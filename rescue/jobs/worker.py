"""The process of one job. It ends with the exit code of its verdict.

``python -m rescue.jobs.worker FOLDER [DESCRIPTOR]``, or ``--standby DESCRIPTOR KIND``: the folder comes later.
"""

from __future__ import annotations

import gc
import importlib
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.jobs.execute import execute
from rescue.jobs.folder import JOURNAL, PLAN
from rescue.jobs.journal import JournalWriter
from rescue.jobs.perform import EngineSteps
from rescue.jobs.reporter import Reporter
from rescue.jobs.secrets import receive
from rescue.jobs.spawn import taken
from rescue.model import documents
from rescue.model.plan import Plan
from rescue.model.progress import CancelToken

# What the steps of each kind of plan import when they begin.
_NEEDS: Final = {
    "backup": ("rescue.engine.capture", "rescue.jobs.destination"),
    "restore": ("rescue.engine.deploy",),
    "verify": ("rescue.engine.verify",),
    "clone": ("rescue.jobs.cloning",),
}


def main(folder: Path, secrets: Secrets = NO_SECRETS) -> int:
    """Run the plan in ``folder`` and journal it there."""
    token = CancelToken()

    def stop(_number: int, _frame: FrameType | None) -> None:
        token.cancel()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the line to whoever started it may break; the job goes on
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    plan = documents.decode((folder / PLAN).read_bytes(), type=Plan)
    journal = JournalWriter(folder / JOURNAL)
    with Reporter(journal.write) as reporter, EngineSteps(plan, socket.gethostname(), secrets) as performer:
        finished = execute(plan, performer, token, reporter, folder)
    reporter.finish(finished)
    journal.close()
    return finished.exit_code


def stand_by(line: int, kind: str) -> int:
    """Load what a plan of this kind needs, wait for its folder and run it."""
    for module in _NEEDS.get(kind, ()):
        importlib.import_module(module)
    if (given := taken(line)) is None:
        return 0
    folder, pipe = given
    return main(folder, NO_SECRETS if pipe is None else receive(pipe))


def _run(arguments: Sequence[str]) -> int:
    gc.set_threshold(100_000)  # what is loaded stays: looking through it for rubbish is time lost
    if arguments[0] == "--standby":
        code = stand_by(int(arguments[1]), arguments[2])
    else:
        code = main(Path(arguments[0]), receive(int(arguments[1])) if len(arguments) > 1 else NO_SECRETS)
    gc.freeze()  # nor shall the interpreter at its end
    return code


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
