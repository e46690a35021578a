"""Locks (flock) on the files of a folder store. They go with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rescue.errors import RefusedError, RescueError

_STORE_LOCK: Final = ".rescue.lock"


def lock_file(path: Path, flags: int, operation: int, busy: RefusedError) -> int:
    """A descriptor of the file that ``path`` names now, locked. ``flags`` as of open(2). Links are not followed.

    Raises ``busy`` when another one has a lock against this; FileNotFoundError; RescueError.
    """
    while True:
        try:
            fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            raise
        except OSError as error:
            what = "created" if flags & os.O_CREAT else "opened"
            hint = "Free some space or choose another folder." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise RescueError(f"{path} cannot be {what}: {error.strerror}.", hint) from error
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
            # It may have been renamed or removed between open and flock: then the lock is on something that has no name.
            if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                return fd
        except BlockingIOError as error:
            os.close(fd)
            raise busy from error
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(fd)
            raise RescueError(f"{path} cannot be locked: {error.strerror}.", "Choose a folder on another file system.") from error
        os.close(fd)


def locked_by_another(path: Path) -> bool:
    """Whether somebody holds an exclusive lock on a file right now; False when there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


@contextmanager
def store_lock(folder: Path) -> Iterator[None]:
    """Keep others that remove or rewrite objects out of a folder. Backups go on meanwhile.

    Raises RefusedError (another one is at it), RescueError (the folder cannot be written to).
    """
    path = folder / _STORE_LOCK
    busy = RefusedError(f"Images in {folder} are being removed or consolidated right now.", "Wait until that has ended.")
    fd = lock_file(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX, busy)
    try:
        yield
    finally:
        try:
            # While the lock is held: whoever waits for this file sees that it is not the named one any more.
            path.unlink(missing_ok=True)
        finally:
            os.close(fd)
