"""The one way to run an external program: argument list, ``LC_ALL=C``, bounded time and output."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from rescue.errors import ProgramError, ProgramTimeoutError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OUTPUT_LIMIT = 64 << 20
_LOOK = 0.5  # seconds between two looks at how much was printed


class Completed(msgspec.Struct, frozen=True):
    """What a program left behind. Output is bytes; ``text`` decodes it without ever failing."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "replace")


def have(program: str) -> bool:
    """Whether a program is installed."""
    return shutil.which(program, path=PATH) is not None


class _RanAwayError(Exception):
    """The program printed too much; the text says how much."""


class _TooLongError(_RanAwayError):
    """The program ran too long; the text says how long."""


def _wait(child: subprocess.Popen[bytes], timeout: float, output_limit: int, outputs: Sequence[int]) -> None:
    deadline = time.monotonic() + timeout
    ended = select.poll()
    # subprocess's own wait with a time limit looks at growing intervals: milliseconds lost with each short program.
    handle = os.pidfd_open(child.pid)
    try:
        ended.register(handle, select.POLLIN)
        while True:
            done = ended.poll(1000 * min(_LOOK, max(deadline - time.monotonic(), 0.01)))
            if max(os.fstat(fd).st_size for fd in outputs) > output_limit:
                raise _RanAwayError(f"printed more than {output_limit} bytes")
            if done:
                return
            if time.monotonic() >= deadline:
                raise _TooLongError(f"did not end within {timeout:.0f} s")
    finally:
        os.close(handle)


@contextmanager
def _given(data: bytes) -> Iterator[int]:
    """A descriptor to read ``data`` from: in memory, for it may be a secret; a program that does not read it hangs nobody."""
    if not data:
        yield subprocess.DEVNULL
        return
    with os.fdopen(os.memfd_create("stdin"), "r+b") as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


def run(
    arguments: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 60.0,
    ok: Sequence[int] = (0,),
    env: Mapping[str, str] | None = None,
    output_limit: int = _OUTPUT_LIMIT,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a program and return its output.

    Raises ProgramError when it is missing, exits with a code not in ``ok`` or prints more than ``output_limit`` bytes,
    ProgramTimeoutError when it runs longer than ``timeout`` seconds. The message holds the command so that it can be pasted.
    """
    shown = shlex.join(arguments)
    environment = {"PATH": PATH, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/"), **(env or {})}
    # Output goes to files, never to memory, and the files are watched: partclone once wrote 9.5 GB of log in ten minutes.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, _given(stdin) as given:
        try:
            child = subprocess.Popen(
                list(arguments),
                stdin=given,
                stdout=out,
                stderr=err,
                env=environment,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramError(f"Cannot run {arguments[0]}: {error.strerror}.", f"The command was: {shown}") from error
        try:
            _wait(child, timeout, output_limit, (out.fileno(), err.fileno()))
        except _TooLongError as error:
            raise ProgramTimeoutError(f"{arguments[0]} {error}.", f"The command was: {shown}") from error
        except _RanAwayError as error:
            raise ProgramError(f"{arguments[0]} {error}.", f"The command was: {shown}") from error
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
        out.seek(0)
        err.seek(0)
        done = Completed(child.returncode, out.read(), err.read(1 << 20))
    if done.code not in ok:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise ProgramError(
            f"{arguments[0]} failed (exit code {done.code}): {said[-1] if said else 'it said nothing'}",
            f"The command was: {shown}",
        )
    return done
