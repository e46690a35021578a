"""The bytes that were won from a failing disk, kept in a file until they are in an image.

An append-only file of records, so that it works on every file system (FAT and exFAT have no sparse files) and a record
that a power cut halved is found by its hash. A record is: the magic ``RSCUDATA``, offset on the disk and length (8 bytes
each, little-endian), the first 16 bytes of the BLAKE3 of those and the data, the data. A later record wins.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right, insort
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from blake3 import blake3

from rescue.errors import RescueError, TargetWriteError
from rescue.model.extents import ExtentMap

_HEAD: Final = struct.Struct("<8sQQ16s")
_MAGIC: Final = b"RSCUDATA"
_RECORD_LIMIT: Final = 16 << 20


class _Piece(NamedTuple):
    start: int
    end: int
    place: int  # of its first byte in the file


_start = attrgetter("start")


def _digest(start: int, data: bytes) -> bytes:
    return blake3(struct.pack("<QQ", start, len(data)) + data).digest()[:16]


class RescuedData:
    """The file, opened or made. A context manager. Not for several threads at once."""

    def __init__(self, path: Path, size: int) -> None:
        """``size``: bytes of the disk. Raises RescueError when the file cannot be opened."""
        self._path = path
        self._disk_size = size
        self._pieces: list[_Piece] = []  # sorted, disjoint
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RescueError(f"{path} cannot be opened: {error.strerror}.") from error
        try:
            self._end = self._scan()
            os.ftruncate(self._fd, self._end)
        except OSError as error:
            os.close(self._fd)
            raise RescueError(f"{path} cannot be read: {error.strerror}.") from error

    def _scan(self) -> int:
        """Take in every whole record; the end of the last one. What is behind it was never finished."""
        position = 0
        while len(head := os.pread(self._fd, _HEAD.size, position)) == _HEAD.size:
            magic, start, length, digest = _HEAD.unpack(head)
            if magic != _MAGIC or not 0 < length <= _RECORD_LIMIT or start + length > self._disk_size:
                break
            data = os.pread(self._fd, length, position + _HEAD.size)
            if len(data) != length or _digest(start, data) != digest:
                break
            self._take_in(_Piece(start, start + length, position + _HEAD.size))
            position += _HEAD.size + length
        return position

    def _take_in(self, new: _Piece) -> None:
        first = max(bisect_left(self._pieces, new.start, key=_start) - 1, 0)
        last = first
        kept: list[_Piece] = []
        while last < len(self._pieces) and self._pieces[last].start < new.end:
            old = self._pieces[last]
            if old.start < min(old.end, new.start):
                kept.append(_Piece(old.start, min(old.end, new.start), old.place))
            if max(old.start, new.end) < old.end:
                begin = max(old.start, new.end)
                kept.append(_Piece(begin, old.end, old.place + begin - old.start))
            last += 1
        self._pieces[first:last] = kept
        insort(self._pieces, new, key=_start)

    @property
    def extents(self) -> ExtentMap:
        """The bytes of the disk that are held."""
        return ExtentMap((piece.start, piece.end) for piece in self._pieces)

    def add(self, start: int, data: bytes) -> None:
        """Keep the disk's bytes from ``start`` on. Raises TargetWriteError; what was kept before stays whole."""
        record = _HEAD.pack(_MAGIC, start, len(data), _digest(start, data)) + data
        try:
            done = 0
            while done < len(record):
                done += os.pwrite(self._fd, record[done:], self._end + done)
        except OSError as error:
            raise TargetWriteError(
                f"{self._path} cannot be written: {error.strerror}.", "Free some space there and run the same command again."
            ) from error
        self._take_in(_Piece(start, start + len(data), self._end + _HEAD.size))
        self._end += len(record)

    def read_into(self, buffer: memoryview, start: int) -> None:
        """Fill ``buffer`` with held bytes. Raises RescueError when some are not held or the file fails."""
        end = start + len(buffer)
        index = max(bisect_right(self._pieces, start, key=_start) - 1, 0)
        position = start
        while position < end and index < len(self._pieces):
            piece = self._pieces[index]
            if not piece.start <= position < piece.end:
                break
            stop = min(end, piece.end)
            place = piece.place + position - piece.start
            try:
                data = os.pread(self._fd, stop - position, place)
            except OSError as error:
                raise RescueError(f"{self._path} cannot be read: {error.strerror}.") from error
            if len(data) != stop - position:
                raise RescueError(f"{self._path} was cut short by something else.")
            buffer[position - start : stop - start] = data
            position = stop
            index += 1
        if position < end:
            raise RescueError(f"{self._path} does not hold byte {position} of the disk.")

    def sync(self) -> None:
        """Return when all that was added is on the medium. Raises TargetWriteError."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise TargetWriteError(f"{self._path} cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
