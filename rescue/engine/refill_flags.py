"""Flags and project of files and folders (``chattr``, ``lsattr -p``), which rsync does not copy.

Source: linux include/uapi/linux/fs.h, ``struct fsxattr``; ioctl_fsgetxattr(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from rescue.errors import TargetWriteError

_GET: Final = 0x801C581F
_SET: Final = 0x401C5820
_ATTRIBUTES: Final = struct.Struct("=IIIII8x")  # flags, extent size, extents, project, size of copied extents
# Immutable, append only, synchronous, no access times, no dump, and that a folder gives its project to what is made in it.
_FLAGS: Final = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x200
_HELD: Final = 0x8 | 0x10
_NONE: Final = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Marks(NamedTuple):
    """What an inode has of these."""

    flags: int = 0
    project: int = 0


def opened(name: str | bytes, folder: int | None = None) -> int:
    """A regular file or a folder, to see and set these. Raises OSError."""
    return os.open(name, _OPEN, dir_fd=folder)


def marks_of(name: str | bytes, folder: int | None = None) -> Marks:
    """Those of a regular file or a folder; none where the file system has no such thing. Raises OSError."""
    fd = opened(name, folder)
    try:
        flags, _, _, project, _ = _read(fd)
    finally:
        os.close(fd)
    return Marks(flags & _FLAGS, project)


def copy_marks(old: Path, new: Path, check: Callable[[], None]) -> None:
    """Give files and folders below ``new``, and itself, the marks that they have below ``old``: what is in a folder first,
    for nothing in it may change afterwards. ``check`` is called often. Raises TargetWriteError.
    """
    top = os.fsencode(old)
    try:
        for parent, _, files, here in os.fwalk(top, topdown=False, follow_symlinks=False):
            check()
            place = os.path.join(os.fsencode(new), os.path.relpath(parent, top))
            for name in files:
                if stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                    _give(marks_of(name, here), os.path.join(place, name))
            _give(marks_of(b".", here), place)
    except OSError as error:
        raise TargetWriteError(f"The flags of the files could not be set: {error.strerror}.") from error


@contextmanager
def changeable(fd: int) -> Iterator[None]:
    """What is open can be changed until the context ends, whatever its flags say. Raises OSError."""
    present = _read(fd)
    flags, extent, _, project, copied = present
    if not flags & _HELD:
        yield
        return
    fcntl.ioctl(fd, _SET, _ATTRIBUTES.pack(flags & ~_HELD, extent, 0, project, copied))
    try:
        yield
    finally:
        fcntl.ioctl(fd, _SET, _ATTRIBUTES.pack(*present))


def _give(marks: Marks, path: bytes) -> None:
    if marks == Marks():
        return
    fd = opened(path)
    try:
        flags, *rest = _read(fd)
        extent, count, _, copied = rest
        fcntl.ioctl(fd, _SET, _ATTRIBUTES.pack(flags & ~_FLAGS | marks.flags, extent, count, marks.project, copied))
    finally:
        os.close(fd)


def _read(fd: int) -> tuple[int, int, int, int, int]:
    try:
        found: tuple[int, int, int, int, int] = _ATTRIBUTES.unpack(fcntl.ioctl(fd, _GET, bytes(_ATTRIBUTES.size)))
    except OSError as error:
        if error.errno in _NONE:
            return 0, 0, 0, 0, 0
        raise
    return found
