"""Writing one object of a folder store: ``NAME.partial``, then all at once ``NAME``."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from rescue.errors import RefusedError, RescueError, TargetWriteError
from rescue.units import MIB

PARTIAL: Final = ".partial"

# linux/fs.h, fcntl.h
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_SYNC_FILE_RANGE_WAIT_BEFORE: Final = 1
_SYNC_FILE_RANGE_WRITE: Final = 2
_SYNC_FILE_RANGE_WAIT_AFTER: Final = 4

# Two windows may be on their way to the medium: little enough that the progress shown is what a slow stick really took.
_WINDOW: Final = 32 * MIB

_libc = ctypes.CDLL(None, use_errno=True)


class StoreWriter:
    """The bytes of one new object, in order, until :meth:`commit` or :meth:`abort`. Leaving the context without commit aborts."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._partial = f"{path}{PARTIAL}"
        self._fd = fd
        self._position = 0
        self._window = 0  # where the window that is being filled begins

    def tell(self) -> int:
        """Bytes written so far."""
        return self._position

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of ``data``. Raises TargetWriteError."""
        view = memoryview(data)
        done = 0
        while done < len(view):
            try:
                done += os.write(self._fd, view[done:])
            except OSError as error:
                raise self._failed(error) from error
        self._position += done
        while self._position - self._window >= _WINDOW:
            self._push_window()

    def _push_window(self) -> None:
        """Start writing the full window to the medium, and wait for the one before it."""
        self._sync_range(self._window, _SYNC_FILE_RANGE_WRITE)
        if self._window:
            self._sync_range(
                self._window - _WINDOW, _SYNC_FILE_RANGE_WAIT_BEFORE | _SYNC_FILE_RANGE_WRITE | _SYNC_FILE_RANGE_WAIT_AFTER
            )
        self._window += _WINDOW

    def _sync_range(self, start: int, flags: int) -> None:
        if _libc.sync_file_range(self._fd, ctypes.c_int64(start), ctypes.c_int64(_WINDOW), ctypes.c_uint(flags)) == 0:
            return
        code = ctypes.get_errno()
        if code in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            error = OSError(code, os.strerror(code))
            raise self._failed(error) from error

    def commit(self) -> None:
        """Make the object complete: on the medium, then under its name. Raises TargetWriteError, RefusedError (name taken)."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._failed(error) from error
        self._rename()
        os.close(self._fd)
        self._fd = -1
        _sync_folder(self.path.parent)

    def _rename(self) -> None:
        old, new = os.fsencode(self._partial), os.fsencode(self.path)
        if _libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, ctypes.c_uint(_RENAME_NOREPLACE)) == 0:
            return
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            # Some file systems (NFS, FUSE) cannot rename without replacing. The lock on .partial keeps other backups out.
            code = errno.EEXIST if os.path.lexists(self.path) else 0
            if not code:
                os.rename(self._partial, self.path)
                return
        if code == errno.EEXIST:
            raise RefusedError(
                f"{self.path} exists already.", f"The new image was kept as {self._partial}; give it another name."
            )
        raise TargetWriteError(f"{self._partial} cannot be renamed to {self.path}: {os.strerror(code)}.")

    def abort(self) -> None:
        """Remove what was written. Does nothing after :meth:`commit`."""
        if self._fd < 0:
            return
        try:
            # Unlinked while the lock is held, so that it cannot be the next writer's.
            os.unlink(self._partial)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EIO, errno.EROFS, errno.ENODEV):
                raise RescueError(f"{self._partial} cannot be removed: {error.strerror}.", "Remove it by hand.") from error
        finally:
            os.close(self._fd)
            self._fd = -1

    def _failed(self, error: OSError) -> TargetWriteError:
        folder = self.path.parent
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                return TargetWriteError(
                    f"{folder} is full: {self._position} bytes of {self.path.name} were written.",
                    "The incomplete image is removed. Free some space or choose another folder.",
                )
            case errno.EFBIG:
                return TargetWriteError(
                    f"The file system of {folder} does not take files larger than {self._position} bytes (FAT: 4 GiB).",
                    "The incomplete image is removed. Use a disk with exFAT, NTFS, ext4, xfs or btrfs.",
                )
            case errno.EIO | errno.ENXIO | errno.ENODEV | errno.EROFS:
                return TargetWriteError(
                    f"The disk of {folder} does not take data any more, at byte {self._position} of {self.path.name}:"
                    f" {error.strerror}.",
                    "Check its cable and its health, then run the same command again.",
                )
            case _:
                return TargetWriteError(f"{self._partial} cannot be written to at byte {self._position}: {error.strerror}.")

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network and FUSE file systems have no fsync of folders.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise TargetWriteError(f"{folder} cannot be written to: {error.strerror}.") from error
    finally:
        os.close(fd)
