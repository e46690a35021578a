"""A file or block device, by descriptor, as a Source and as a Sink."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rescue.errors import FormatError, RefusedError, RescueError, SourceReadError, TargetWriteError
from rescue.model.source import check_range
from rescue.units import MIB

# linux/fs.h
_BLKRRPART = 0x125F
_BLKFLSBUF = 0x1261
_BLKSSZGET = 0x1268
_BLKGETSIZE64 = 0x80081272
_BLKZEROOUT = 0x127F
_LOOP_MAJOR = 7
_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02

_LOOKED_AT_SECONDS = 10.0  # how long others may look at a partition

_libc = ctypes.CDLL(None, use_errno=True)
_ZEROS = bytes(1 * MIB)


def is_block_device(path: str) -> bool:
    """Whether ``path`` is a block device node."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


def device_size(fd: int) -> int:
    """Bytes of an open file or block device."""
    if stat.S_ISBLK(os.fstat(fd).st_mode):
        answer = fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8))
        return int(struct.unpack("<Q", answer)[0])
    return os.fstat(fd).st_size


def device_sector_size(fd: int) -> int:
    """Logical sector size of an open block device, in bytes; 512 for a file."""
    if stat.S_ISBLK(os.fstat(fd).st_mode):
        return int(struct.unpack("<i", fcntl.ioctl(fd, _BLKSSZGET, bytes(4)))[0])
    return 512


def punch_hole(fd: int, start: int, end: int) -> bool:
    """Make ``[start, end)`` of an open file a hole, which reads as zeros; False where files have none. Raises OSError."""
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    if _libc.fallocate(fd, mode, ctypes.c_int64(start), ctypes.c_int64(end - start)) == 0:
        return True
    code = ctypes.get_errno()
    if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
        raise OSError(code, os.strerror(code))
    return False


def _stored(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What of ``[start, end)`` an open file has stored; the rest are holes. All of it where the file system cannot tell."""
    try:
        while start < end:
            start = os.lseek(fd, start, os.SEEK_DATA)
            if start < end:
                stop = min(os.lseek(fd, start, os.SEEK_HOLE), end)
                yield start, stop
                start = stop
    except OSError as error:
        if error.errno == errno.ENXIO:
            return  # nothing but a hole is left
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        yield start, end


def reopen_direct(fd: int, mode: int) -> int:
    """A second descriptor of the same file or device, for direct I/O; -1 where that is not possible."""
    try:
        return os.open(f"/proc/self/fd/{fd}", mode | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return -1


class _OpenFile:
    """What a Source and a Sink over a descriptor share: its size, a second descriptor for direct I/O, closing."""

    def __init__(self, path: str | Path, fd: int, direct_mode: int | None) -> None:
        self.path = str(path)
        self._fd = fd
        self._size = device_size(fd)
        self._direct_fd = -1 if direct_mode is None else reopen_direct(fd, direct_mode)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    @property
    def is_device(self) -> bool:
        """Whether it is a block device."""
        return stat.S_ISBLK(os.fstat(self._fd).st_mode)

    @property
    def fd(self) -> int:
        """The descriptor, for what has no method here."""
        return self._fd

    def _fd_for(self, offset: int, length: int) -> int:
        """The descriptor to use: that for direct I/O where the alignment allows it."""
        return self._direct_fd if self._direct_fd >= 0 and offset % 512 == 0 and length % 512 == 0 else self._fd

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self._fd, self._direct_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._direct_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class FileSource(_OpenFile):
    """A disk or a file, opened read-only, as a Source. A context manager.

    ``direct`` reads from the medium and not from the page cache, where alignment allows; with ``cached`` what is in the
    cache already is taken from there.
    """

    def __init__(self, path: str | Path, *, direct: bool = False, cached: bool = False) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RescueError(f"Cannot open {path}: {error.strerror}.") from error
        super().__init__(path, fd, os.O_RDONLY if direct else None)
        self._cached = cached and self._direct_fd >= 0

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self._size, offset, length)
        try:
            data = os.pread(self._fd, length, offset)
        except OSError:
            data = b""
        if len(data) == length:
            return data
        buffer = bytearray(length)
        self.pread_into(memoryview(buffer), offset)  # says what is wrong, or gets the rest
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        check_range(self._size, offset, len(buffer))
        done = self._from_cache(buffer, offset) if self._cached else 0
        fd = self._fd_for(offset + done, len(buffer) - done)
        while done < len(buffer):
            try:
                got = os.preadv(fd, [buffer[done:]], offset + done)
            except OSError as error:
                if error.errno == errno.EINVAL and fd != self._fd:
                    fd = self._fd  # not aligned as this file system or device wants it
                    continue
                raise SourceReadError(
                    f"{self.path} cannot be read at byte {offset + done}: {error.strerror}.",
                    offset + done,
                    len(buffer) - done,
                ) from error
            if got == 0:
                raise SourceReadError(
                    f"{self.path} ends at byte {offset + done}, earlier than its size says.",
                    offset + done,
                    len(buffer) - done,
                )
            done += got

    def is_cached(self, start: int, end: int) -> bool:
        """Whether a stretch is likely to be in the page cache: its first and its last page are."""
        page = memoryview(bytearray(min(mmap.PAGESIZE, end - start)))
        return self._cached and all(self._from_cache(page, at) == len(page) for at in (start, end - len(page)))

    def _from_cache(self, buffer: memoryview, offset: int) -> int:
        """Copy what the page cache holds, without waiting for the medium; how many bytes at the start of ``buffer`` it was."""
        done = 0
        try:
            while done < len(buffer) and (got := os.preadv(self._fd, [buffer[done:]], offset + done, os.RWF_NOWAIT)):
                done += got
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EIO):
                raise
            self._cached = self._cached and error.errno != errno.EOPNOTSUPP
        return done

    def drop_cache(self, start: int = 0, length: int = 0) -> None:
        """Make later reads come from the medium: drop the kernel's clean cached pages (all of them when length is 0)."""
        if self.is_device and not length:
            try:
                fcntl.ioctl(self._fd, _BLKFLSBUF)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM):
                    raise RescueError(f"The cache of {self.path} cannot be dropped: {error.strerror}.") from error
        os.posix_fadvise(self._fd, start, length, os.POSIX_FADV_DONTNEED)


class FileSink(_OpenFile):
    """A disk or an existing file, opened for writing as a whole, as a Sink. A context manager.

    A block device is opened exclusively: it fails while the disk or one of its partitions is mounted or held.
    ``direct`` passes the page cache by where alignment allows: twice as fast, and the rest of the machine keeps its memory.
    """

    def __init__(self, path: str | Path, *, direct: bool = False) -> None:
        self._block = is_block_device(str(path))
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if self._block else 0)
        try:
            fd = os.open(path, flags)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise RefusedError(f"{path} is in use.", "Unmount what is on it and try again.") from error
            raise TargetWriteError(f"Cannot open {path} for writing: {error.strerror}.") from error
        super().__init__(path, fd, os.O_WRONLY if direct else None)

    def _failed(self, error: OSError, offset: int) -> TargetWriteError:
        match error.errno:
            # A disk that is pulled out has no size any more, so that every write lies behind its end.
            case errno.ENOSPC if device_size(self._fd) >= self._size:
                what, hint = "is full", "Free some space or choose another target."
            case errno.ENOSPC | errno.EIO | errno.ENXIO | errno.ENODEV:
                what, hint = "does not take data any more (failing or unplugged)", "Check the cable and the disk."
            case _:
                what, hint = f"cannot be written to: {error.strerror}", ""
        return TargetWriteError(f"{self.path} {what}, at byte {offset}.", hint)

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """See Sink."""
        if offset + len(data) > self._size:
            raise FormatError(f"Writing {len(data)} bytes at {offset} would leave {self.path} ({self._size} bytes).")
        view = memoryview(data)
        done = 0
        fd = self._fd_for(offset, len(view))
        while done < len(view):
            try:
                done += os.pwrite(fd, view[done:], offset + done)
            except OSError as error:
                if error.errno == errno.EINVAL and fd != self._fd:
                    fd = self._fd  # not aligned as this file system or device wants it
                    continue
                raise self._failed(error, offset + done) from error

    def zero(self, start: int, end: int) -> None:
        """See Sink."""
        if start >= end:
            return
        try:
            if self._block:
                fcntl.ioctl(self._fd, _BLKZEROOUT, struct.pack("<QQ", start, end - start))
                return
            if punch_hole(self._fd, start, end):
                return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
                raise self._failed(error, start) from error
        for offset in range(start, end, len(_ZEROS)):
            self.pwrite(_ZEROS[: min(len(_ZEROS), end - offset)], offset)

    def overwrite(self, start: int, end: int) -> None:
        """Write zeros where the bytes ``[start, end)`` are stored, so that what was there is gone. Raises TargetWriteError.

        A hole that is punched into a file leaves it in the blocks of the file system, and so does a loop device, which hands
        zeros on as a range of its file that is taken for them. BLKZEROOUT alone has no other disk unmap blocks.
        """
        try:
            if self._block and os.major(os.fstat(self._fd).st_rdev) != _LOOP_MAJOR:
                fcntl.ioctl(self._fd, _BLKZEROOUT, struct.pack("<QQ", start, end - start))
                return
            stored = [(start, end)] if self._block else list(_stored(self._fd, start, end))
        except OSError as error:
            if not self._block or error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
                raise self._failed(error, start) from error
            stored = [(start, end)]
        if not stored:
            return
        zeros = memoryview(mmap.mmap(-1, len(_ZEROS)))  # aligned, as direct I/O needs it
        for low, high in stored:
            for offset in range(low, high, len(zeros)):
                self.pwrite(zeros[: min(len(zeros), high - offset)], offset)

    def flush(self) -> None:
        """See Sink."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._failed(error, 0) from error

    def reread_table(self) -> bool:
        """Ask the kernel to read the partition table of this block device again; whether it did.

        It does not while somebody has a partition open, and udev's probes do for a moment after anything was written. They
        keep away from a disk that is locked (systemd.io, "Block Device Locking").
        """
        deadline = time.monotonic() + _LOOKED_AT_SECONDS
        while self._block:
            try:
                with suppress(BlockingIOError):  # somebody else has it: that is no reason not to ask
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.ioctl(self._fd, _BLKRRPART)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
            else:
                return True
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False
