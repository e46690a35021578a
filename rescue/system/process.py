"""Programs that run for long: while something else is done, or watched. They end with this process at the latest."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final

from rescue.errors import ProgramError
from rescue.system.run import PATH, have

_READY_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.1
_OUTPUT_LIMIT: Final = 16 << 20
_IF_ALIVE: Final = '[ "$PPID" = "$0" ] && exec "$@"'
# Waits for the end of the process that started it, its last thread included; then the mounts that it has left are ended.
_UNTIL_ENDED: Final = """
import os, select, sys
job = int(sys.argv[1])
if os.getppid() == job:
    select.select([os.pidfd_open(job)], [], [])
for mount in sys.argv[2:]:
    os.spawnvp(os.P_WAIT, "fusermount3", ["fusermount3", "-uz", "--", mount])
"""


@contextmanager
def running(
    arguments: Sequence[str],
    ready: Callable[[], bool],
    *,
    end: Callable[[], object] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a program until the context ends; enter when ``ready`` says so.

    ``end`` asks the program to end (else SIGTERM does); it is killed when it has not after some seconds, and by the kernel
    when this process is. Raises ProgramError when it is missing, ends or is not ready in time.
    """
    shown = shlex.join(arguments)
    with tempfile.TemporaryFile() as said, _started(arguments, said.fileno(), env) as child:
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


@contextmanager
def outliving(*files: int, mounts: Sequence[Path] = ()) -> Iterator[None]:
    """Have a second process hold open files, and the namespaces of this thread, until the context ends or all of us has ended.

    It is for what takes our own answers to be closed. The last to close a device or to leave a mount waits for what is being
    read or written there. When that is a killed process which itself serves what lies below, it waits for ever, and with it
    whoever calls sync(2): its sockets, whose end would make that fail, are closed later. ``mounts``: of FUSE, to be ended
    when this process could not do it. Raises ProgramError.
    """
    try:
        # Not by setpriv --pdeathsig: that signal comes with the end of one thread, when others may still close files.
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _UNTIL_ENDED, str(os.getpid()), *map(str, mounts)],
            pass_fds=files,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramError(f"Cannot run {sys.executable}: {error.strerror}.") from error
    try:
        yield
    finally:
        keeper.kill()
        keeper.wait()


@contextmanager
def _started(arguments: Sequence[str], output: int, env: Mapping[str, str] | None) -> Iterator[subprocess.Popen[bytes]]:
    """A child whose parent is a thread that does nothing else, and so dies when it is told to.

    A child is killed when the thread that started it has ended. One that waits for a device which we serve ourselves does not
    end before that answers, and what would make it fail is the end of the program between, which is such a child.
    """
    done = Event()
    found: SimpleQueue[subprocess.Popen[bytes] | BaseException] = SimpleQueue()

    def stay() -> None:
        try:
            found.put(_start(arguments, output, env))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            found.put(error)
        else:
            done.wait()

    thread = Thread(target=stay, name=f"parent of {arguments[0]}", daemon=True)
    thread.start()
    try:
        child = found.get()
        if isinstance(child, BaseException):
            raise child
        yield child
    finally:
        done.set()
        thread.join()


def _start(arguments: Sequence[str], output: int, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    try:
        # setpriv (util-linux) and the shell replace themselves by the program: the child is the program, and dies with us.
        # The shell sees to it that we have not died before that was asked for.
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _IF_ALIVE, str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": PATH, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/"), **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        command = f"The command was: {shlex.join(arguments)}"
        raise ProgramError(f"Cannot run {arguments[0]}: {error.strerror}.", command) from error


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


def watch(arguments: Sequence[str], look: Callable[[str], None], *, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a program to its end and give its exit code and the end of what it said.

    ``look`` is told the end of what it said, several times a second; when it raises, the program is killed. Raises
    ProgramError when the program is missing.
    """
    shown = shlex.join(arguments)
    if not have(arguments[0]):
        raise ProgramError(f"{arguments[0]} is not installed.", f"The command was: {shown}")
    with tempfile.TemporaryFile() as said:
        child = _start(arguments, said.fileno(), env)
        try:
            while True:
                ended = child.poll()
                size = os.fstat(said.fileno()).st_size
                text = os.pread(said.fileno(), 4096, max(size - 4096, 0)).decode("utf-8", "replace")
                if ended is not None:
                    return ended, text
                if size > _OUTPUT_LIMIT:
                    raise ProgramError(f"{arguments[0]} printed more than {_OUTPUT_LIMIT} bytes.", f"The command was: {shown}")
                look(text)
                time.sleep(_LOOK_SECONDS)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
