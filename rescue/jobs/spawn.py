"""The process of a job. One that stands by loads its modules while the process that asked for it is still planning."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import rescue
from rescue.errors import RescueError

# This module is loaded first of all, and needs little of the rest.
LOG: Final = "worker.log"
SECRET_VARIABLES: Final = frozenset({"RESCUE_PASSPHRASE"})  # of the environment: not handed on

# Frames are megabytes that come and go: without this, glibc gives each back to the kernel, and half of the system time
# of a backup goes into clearing pages that are asked for again at once.
_MALLOC: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}


class Standby:
    """A worker that waits for its job. It ends by itself when none comes before this process ends.

    Raises RescueError when no process can be started.
    """

    def __init__(self, kind: str) -> None:
        """``kind`` is that of the plan that is going to come: what it needs is loaded."""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._child = _start(["--standby", str(theirs.fileno()), kind], [theirs.fileno()], subprocess.DEVNULL)

    def give(self, folder: Path, lock: int, pipe: int | None) -> subprocess.Popen[bytes] | None:
        """Have it run the plan in ``folder``; None when it is gone. ``lock`` and ``pipe`` are as for :func:`spawn`."""
        with self._line, (folder / LOG).open("wb") as log:
            descriptors = [lock, log.fileno(), *([] if pipe is None else [pipe])]
            try:
                socket.send_fds(self._line, [os.fsencode(folder)], descriptors)
            except OSError:
                return None
        return self._child


def taken(line: int) -> tuple[Path, int | None] | None:
    """In the process that stands by: wait for the folder of the job and the descriptor of its secrets; None when none comes.

    From then on the job's lock is held, and what is printed goes to its log.
    """
    with socket.socket(fileno=line) as ours:
        folder, descriptors, _, _ = socket.recv_fds(ours, 4096, 3)
    if not folder:
        return None
    _, log, *pipe = descriptors
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    return Path(os.fsdecode(folder)), pipe[0] if pipe else None


def spawn(folder: Path, lock: int, pipe: int | None) -> subprocess.Popen[bytes]:
    """A process for the plan in ``folder``; it inherits ``lock``, and ``pipe`` with its secrets. Raises RescueError."""
    with (folder / LOG).open("wb") as log:
        secrets = [] if pipe is None else [pipe]
        return _start([str(folder), *map(str, secrets)], [lock, *secrets], log.fileno())


def _start(arguments: Sequence[str], inherited: Sequence[int], log: int) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    # Blocked until the worker has its handlers: a signal in its first moments waits instead of killing it without a verdict.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        # Not system.run: that waits for programs of others. This is our own program, and nobody waits for it.
        return subprocess.Popen(
            [sys.executable, "-m", "rescue.jobs.worker", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            # The program may have been found by a path that only its start-up script knows.
            env={**environment, **_MALLOC, "PYTHONPATH": str(Path(rescue.__file__).parent.parent)},
            pass_fds=inherited,
            start_new_session=True,
        )
    except OSError as error:
        raise RescueError(f"The job's process cannot be started: {error.strerror}.") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
