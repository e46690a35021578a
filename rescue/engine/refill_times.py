"""What xfsrestore does not bring back: parts of a second in times, and all that belongs to the root directory itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rescue.engine.refill_flags import changeable, opened
from rescue.errors import TargetWriteError

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
_SHOWN_TWICE: Final = "trusted.SGI_ACL_"


def put_right(old: Path, new: Path, check: Callable[[], None]) -> None:
    """Give every name below ``new`` the times that it has below ``old``, and the root directory all that is its own.

    Names that are missing are left to the comparison. ``check`` is called often. Raises TargetWriteError.
    """
    levels: list[tuple[int, int, list[str]]] = []
    try:
        levels.append((os.open(old, _FLAGS), os.open(new, _FLAGS), []))
        _root(levels[0][0], levels[0][1])
        levels[0][2].extend(os.listdir(levels[0][0]))
        while levels:
            check()
            ours, theirs, left = levels[-1]
            if not left:
                # Last of all: what is done inside of a folder changes its times.
                _times(os.stat(ours), theirs)
                levels.pop()
                os.close(ours)
                os.close(theirs)
                continue
            name = left.pop()
            found = os.stat(name, dir_fd=ours, follow_symlinks=False)
            try:
                if stat.S_ISDIR(found.st_mode):
                    below = os.open(name, _FLAGS, dir_fd=theirs)
                    try:
                        here = os.open(name, _FLAGS, dir_fd=ours)
                    except OSError:
                        os.close(below)
                        raise
                    names: list[str] = []
                    levels.append((here, below, names))
                    names += os.listdir(here)
                else:
                    _times_of_file(name, theirs, (found.st_atime_ns, found.st_mtime_ns))
            except (FileNotFoundError, NotADirectoryError):
                continue
    except OSError as error:
        raise TargetWriteError(f"The times of the files could not be set: {error.strerror}.") from error
    finally:
        for ours, theirs, _ in levels:
            os.close(ours)
            os.close(theirs)


def _times(found: os.stat_result, fd: int) -> None:
    with changeable(fd):
        os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))


def _times_of_file(name: str, folder: int, times: tuple[int, int]) -> None:
    try:
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
    except PermissionError:
        fd = opened(name, folder)
        try:
            with changeable(fd):
                os.utime(fd, ns=times)
        finally:
            os.close(fd)


def _root(old: int, new: int) -> None:
    found = os.stat(old)
    with changeable(new):
        os.chown(new, found.st_uid, found.st_gid)
        os.chmod(new, stat.S_IMODE(found.st_mode))
        for name in os.listxattr(old):
            if not name.startswith(_SHOWN_TWICE):
                os.setxattr(new, name, os.getxattr(old, name))
