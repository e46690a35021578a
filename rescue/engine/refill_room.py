"""Room that files have: programs that copy them leave zeros out, and a swap file with holes is none (swapon(8))."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from rescue.errors import TargetWriteError

_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def allocate(old: Path, new: Path, check: Callable[[], None]) -> None:
    """Give all files below ``new`` whose original below ``old`` has no holes all of their room, with their times as they are.

    ``check`` is called often. Raises TargetWriteError.
    """
    top = os.fsencode(old)
    try:
        for parent, _, files, here in os.fwalk(top, follow_symlinks=False):
            check()
            place = os.path.join(os.fsencode(new), os.path.relpath(parent, top))
            for name in files:
                found = os.stat(name, dir_fd=here, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_blocks * 512 >= found.st_size > 0:
                    _allocate(os.path.join(place, name))
    except OSError as error:
        raise TargetWriteError(f"A file could not have the room that it had: {error.strerror}.") from error


def _allocate(path: bytes) -> None:
    found = os.stat(path, follow_symlinks=False)
    if found.st_blocks * 512 >= found.st_size:
        return
    try:
        fd = os.open(path, _OPEN)
    except OSError as error:
        if error.errno == errno.EPERM:  # it is immutable by now; nobody swaps to such a file
            return
        raise
    try:
        os.posix_fallocate(fd, 0, found.st_size)
        os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(fd)
