"""One file that grows: written in windows, so that no more than two of them wait in memory."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from pathlib import Path
from typing import Final

from rescue.system.blockfile import reopen_direct
from rescue.units import MIB

# linux/fs.h, fcntl.h
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_SYNC_FILE_RANGE_WAIT_BEFORE: Final = 1
_SYNC_FILE_RANGE_WRITE: Final = 2
_SYNC_FILE_RANGE_WAIT_AFTER: Final = 4

# Two windows may be on their way to the medium: little enough that the progress shown is what a slow stick really took.
_WINDOW: Final = 32 * MIB
# What is gathered for one write that passes the page cache by.
_GATHERED: Final = 8 * MIB
_ALIGNED: Final = 4096  # bytes, of offsets, lengths and memory: enough for every sector size

_libc = ctypes.CDLL(None, use_errno=True)


class OutputFile:
    """A descriptor that is written to in order, from ``position`` on. Its methods raise OSError.

    On a local disk it passes the page cache by: an image is read again at most once, to be proved, and what the machine has in
    its cache is worth more. Elsewhere (networks, FUSE) the kernel gathers better than we do.
    """

    def __init__(self, fd: int, position: int = 0) -> None:
        self.fd = fd
        self.position = position  # bytes taken; after an error: bytes written
        self._window = position  # where the window that is being filled begins
        self._waiting = False  # whether the window before it is on its way
        # A file system on a device has that device's number; others have numbers of no device. btrfs is one of the latter, and
        # may have to copy what it computes checksums of in any case.
        local = os.major(os.fstat(fd).st_dev) != 0
        self._direct = reopen_direct(fd, os.O_WRONLY) if local else -1
        self._gathered = memoryview(mmap.mmap(-1, _GATHERED)) if self._direct >= 0 else memoryview(b"")
        self._waits = 0  # bytes of it that wait to be written

    def write(self, view: memoryview) -> None:
        """Append all of ``view``."""
        while len(view) and self._direct >= 0:
            # The first write may begin anywhere; it ends so that the others are aligned.
            room = _GATHERED - (self.position - self._waits) % _ALIGNED - self._waits
            piece = view[:room]
            self._gathered[self._waits : self._waits + len(piece)] = piece
            self._waits += len(piece)
            self.position += len(piece)
            view = view[len(piece) :]
            if len(piece) == room:
                self.push()
        if self._direct < 0:
            self._write(self.fd, view, self.position)
            while self.position - self._window >= _WINDOW:
                self._push_window()

    def push(self) -> None:
        """Write what was gathered."""
        view = self._gathered[: self._waits]
        start = self.position - self._waits
        self.position, self._waits = start, 0
        whole = len(view) - len(view) % _ALIGNED if start % _ALIGNED == 0 else 0
        try:
            self._write(self._direct, view[:whole], start)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # This file system does not take it past its cache after all, or not this last piece before its limit.
            os.close(self._direct)
            self._direct = -1
            self._window = self.position
        self._write(self.fd, view[self.position - start :], self.position)

    def _write(self, fd: int, view: memoryview, offset: int) -> None:
        done = 0
        while done < len(view):
            written = os.pwrite(fd, view[done:], offset + done)
            done += written
            self.position = offset + done

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
        self.push()
        os.fsync(self.fd)

    def close(self) -> None:
        """Close the descriptor, and with it its lock. What was not pushed is lost."""
        for fd in (self.fd, self._direct):
            if fd >= 0:
                os.close(fd)
        self.fd = self._direct = -1


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
