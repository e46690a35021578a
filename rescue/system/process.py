"""A program that keeps running while something else is done. It ends with the context, and with this process at the latest."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from rescue.errors import ProgramError
from rescue.system.run import PATH

_READY_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0


@contextmanager
def running(
    arguments: Sequence[str],
    ready: Callable[[], bool],
    *,
    end: Callable[[], object] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a program until the context ends; enter when ``ready`` says so. Call it from a thread that lives as long.

    ``end`` asks the program to end (else SIGTERM does); it is killed when it has not after some seconds, and by the kernel
    when the thread that started it dies. Raises ProgramError when it is missing, ends or is not ready in time.
    """
    shown = shlex.join(arguments)
    environment = {"PATH": PATH, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/"), **(env or {})}
    with tempfile.TemporaryFile() as said:
        try:
            # setpriv (util-linux) replaces itself by the program: the child is the program, and dies with us.
            child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramError(f"Cannot run {arguments[0]}: {error.strerror}.", f"The command was: {shown}") from error
        try:
            deadline = time.monotonic() + _READY_SECONDS
            while not ready():
                if child.poll() is not None:
                    raise ProgramError(
                        f"{arguments[0]} ended too early: {_last_line(said.fileno())}", f"The command was: {shown}"
                    )
                if time.monotonic() > deadline:
                    raise ProgramError(f"{arguments[0]} is not ready after {_READY_SECONDS:.0f} s.", f"The command was: {shown}")
                time.sleep(0.005)
            yield
        finally:
            _end(child, end)


def _end(child: subprocess.Popen[bytes], end: Callable[[], object] | None) -> None:
    try:
        if end is not None:
            end()
        else:
            child.terminate()
        child.wait(_END_SECONDS)
    except (ProgramError, subprocess.TimeoutExpired):
        child.kill()
        child.wait()


def _last_line(fd: int) -> str:
    size = os.fstat(fd).st_size
    lines = os.pread(fd, 4096, max(size - 4096, 0)).decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
