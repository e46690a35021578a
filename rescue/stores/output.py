"""One file that grows: written in windows, so that no more than two of them wait in memory."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from rescue.units import MIB

# linux/fs.h, fcntl.h
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_SYNC_FILE_RANGE_WAIT_BEFORE: Final = 1
_SYNC_FILE_RANGE_WRITE: Final = 2
_SYNC_FILE_RANGE_WAIT_AFTER: Final = 4

# Two windows may be on their way to the medium: little enough that the progress shown is what a slow stick really took.
_WINDOW: Final = 32 * MIB

_libc = ctypes.CDLL(None, use_errno=True)


class OutputFile:
    """A descriptor that is written to in order, from ``position`` on. Its methods raise OSError."""

    def __init__(self, fd: int, position: int = 0) -> None:
        self.fd = fd
        self.position = position
        self._window = position  # where the window that is being filled begins
        self._waiting = False  # whether the window before it is on its way
        os.lseek(fd, position, os.SEEK_SET)

    def write(self, view: memoryview) -> None:
        """Append all of ``view``."""
        done = 0
        while done < len(view):
            written = os.write(self.fd, view[done:])
            done += written
            self.position += written
        while self.position - self._window >= _WINDOW:
            self._push_window()

    def _push_window(self) -> None:
        """Start writing the full window to the medium, and wait for the one before it."""
        self._sync_range(self._window, _SYNC_FILE_RANGE_WRITE)
        if self._waiting:
            self._sync_range(
                self._window - _WINDOW, _SYNC_FILE_RANGE_WAIT_BEFORE | _SYNC_FILE_RANGE_WRITE | _SYNC_FILE_RANGE_WAIT_AFTER
            )
        self._waiting = True
        self._window += _WINDOW

    def _sync_range(self, start: int, flags: int) -> None:
        if _libc.sync_file_range(self.fd, ctypes.c_int64(start), ctypes.c_int64(_WINDOW), ctypes.c_uint(flags)) == 0:
            return
        code = ctypes.get_errno()
        if code in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise OSError(code, os.strerror(code))

    def sync(self) -> None:
        """Return when everything is on the medium."""
        os.fsync(self.fd)

    def close(self) -> None:
        """Close the descriptor, and with it its lock."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def rename_new(old: Path, new: Path) -> None:
    """Rename without replacing. Raises FileExistsError, OSError."""
    source, target = os.fsencode(old), os.fsencode(new)
    if _libc.renameat2(_AT_FDCWD, source, _AT_FDCWD, target, ctypes.c_uint(_RENAME_NOREPLACE)) == 0:
        return
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        # Some file systems (NFS, FUSE) cannot rename without replacing. The lock on .partial keeps other backups out.
        if not os.path.lexists(new):
            os.rename(old, new)
            return
        code = errno.EEXIST
    raise OSError(code, os.strerror(code), str(old), None, str(new))
