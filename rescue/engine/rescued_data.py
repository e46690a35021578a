"""The bytes that were won from a failing disk, kept in a file until they are in an image.

An append-only file of records, so that it works on every file system (FAT and exFAT have no sparse files) and a record
that a power cut halved is found by its hash. A record is: the magic ``RSCUDATA``, offset on the disk and length (8 bytes
each, little-endian), the first 16 bytes of the BLAKE3 of those and the data, the data. A later record wins.

What is for an encrypted image is sealed (docs/image-format.md, section 10): the file begins with ``RSCUSALV``, 32 random
bytes and the first 16 of their BLAKE3; the data of a record are a nonce of its own, the ciphertext and a tag, bound to the
file, the offset on the disk and the number of the record. The length is that of the plain data; the hash is of the sealed.
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

from rescue.errors import DamagedError, RefusedError, RescueError, TargetWriteError
from rescue.images.crypto import SEAL_OVERHEAD, ImageKeys, Place, SealedKind, Sealer, salvage_sealer
from rescue.model.extents import ExtentMap

_HEAD: Final = struct.Struct("<8sQQ16s")
_MAGIC: Final = b"RSCUDATA"
_RECORD_LIMIT: Final = 16 << 20
_SEALED_HEAD: Final = struct.Struct("<8s32s16s")
_SEALED_MAGIC: Final = b"RSCUSALV"
_SALT_SIZE: Final = 32
_HINT: Final = "Move its folder elsewhere and run the same command again: what it holds is then read from the disk once more."


class _Record(NamedTuple):
    start: int
    length: int
    place: int  # of its data in the file
    number: int


class _Piece(NamedTuple):
    start: int
    end: int
    record: _Record


_start = attrgetter("start")


def _digest(start: int, data: bytes) -> bytes:
    return blake3(struct.pack("<QQ", start, len(data)) + data).digest()[:16]


def _sealed_head(salt: bytes) -> bytes:
    return _SEALED_HEAD.pack(_SEALED_MAGIC, salt, blake3(salt).digest()[:16])


def _place(record: _Record) -> Place:
    return Place(SealedKind.SALVAGED, record.start, record.number)


class RescuedData:
    """The file, opened or made. A context manager. Not for several threads at once."""

    def __init__(self, path: Path, size: int, keys: ImageKeys | None = None) -> None:
        """``size``: bytes of the disk; ``keys``: of an image that is encrypted.

        Raises RescueError when the file cannot be opened, RefusedError when it is sealed and there are no keys or the other
        way round, DamagedError when the keys do not open it: then it stays as it is.
        """
        self._path = path
        self._keys = keys
        self._sealer: Sealer | None = None
        self._count = 0
        self._disk_size = size
        self._pieces: list[_Piece] = []  # sorted, disjoint
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RescueError(f"{path} cannot be opened: {error.strerror}.") from error
        try:
            self._end = self._scan()
            os.ftruncate(self._fd, self._end)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise RescueError(f"{path} cannot be read: {error.strerror}.") from error
            raise

    def _scan(self) -> int:
        """Take in every whole record; the end of the last one. What is behind it was never finished."""
        magic = os.pread(self._fd, len(_MAGIC), 0)
        if magic == (_SEALED_MAGIC if self._keys is None else _MAGIC):
            kind = "sealed, and the image is not encrypted" if self._keys is None else "not sealed, and the image is encrypted"
            raise RefusedError(f"{self._path} is {kind}: it is of another one.", _HINT)
        position = 0
        if self._keys is not None:
            head = os.pread(self._fd, _SEALED_HEAD.size, 0)
            if len(head) < _SEALED_HEAD.size or head != _sealed_head(head[8 : 8 + _SALT_SIZE]):
                return 0
            self._sealer = salvage_sealer(self._keys, head[8 : 8 + _SALT_SIZE])
            position = _SEALED_HEAD.size
        while len(head := os.pread(self._fd, _HEAD.size, position)) == _HEAD.size:
            magic, start, length, digest = _HEAD.unpack(head)
            if magic != _MAGIC or not 0 < length <= _RECORD_LIMIT or start + length > self._disk_size:
                break
            record = _Record(start, length, position + _HEAD.size, self._count)
            stored = os.pread(self._fd, self._stored(record), record.place)
            if len(stored) != self._stored(record) or _digest(start, stored) != digest:
                break
            self._opened(record, stored)
            self._take_in(_Piece(start, start + length, record))
            self._count += 1
            position = record.place + len(stored)
        return position

    def _stored(self, record: _Record) -> int:
        return record.length + (SEAL_OVERHEAD if self._sealer else 0)

    def _opened(self, record: _Record, stored: bytes) -> bytes | bytearray:
        """The plain data of a record. Raises DamagedError."""
        if self._sealer is None:
            return stored
        try:
            return self._sealer.open(stored, _place(record))
        except DamagedError as error:
            raise DamagedError(f"{self._path} was sealed for another image, or was changed by something else.", _HINT) from error

    def _take_in(self, new: _Piece) -> None:
        first = max(bisect_left(self._pieces, new.start, key=_start) - 1, 0)
        last = first
        kept: list[_Piece] = []
        while last < len(self._pieces) and self._pieces[last].start < new.end:
            old = self._pieces[last]
            if old.start < min(old.end, new.start):
                kept.append(_Piece(old.start, min(old.end, new.start), old.record))
            if max(old.start, new.end) < old.end:
                kept.append(_Piece(max(old.start, new.end), old.end, old.record))
            last += 1
        self._pieces[first:last] = kept
        insort(self._pieces, new, key=_start)

    @property
    def extents(self) -> ExtentMap:
        """The bytes of the disk that are held."""
        return ExtentMap((piece.start, piece.end) for piece in self._pieces)

    def add(self, start: int, data: bytes) -> None:
        """Keep the disk's bytes from ``start`` on. Raises TargetWriteError; what was kept before stays whole."""
        begin = b""
        if self._keys is not None and not self._end:
            salt = os.urandom(_SALT_SIZE)
            begin = _sealed_head(salt)
            self._sealer = salvage_sealer(self._keys, salt)
        record = _Record(start, len(data), self._end + len(begin) + _HEAD.size, self._count)
        stored = bytes(self._sealer.seal(data, _place(record))) if self._sealer else data
        written = begin + _HEAD.pack(_MAGIC, start, len(data), _digest(start, stored)) + stored
        try:
            done = 0
            while done < len(written):
                done += os.pwrite(self._fd, written[done:], self._end + done)
        except OSError as error:
            raise TargetWriteError(
                f"{self._path} cannot be written: {error.strerror}.", "Free some space there and run the same command again."
            ) from error
        self._take_in(_Piece(start, start + len(data), record))
        self._count += 1
        self._end += len(written)

    def read_into(self, buffer: memoryview, start: int) -> None:
        """Fill ``buffer`` with held bytes. Raises RescueError when some are not held or the file fails, DamagedError."""
        end = start + len(buffer)
        index = max(bisect_right(self._pieces, start, key=_start) - 1, 0)
        position = start
        while position < end and index < len(self._pieces):
            piece = self._pieces[index]
            if not piece.start <= position < piece.end:
                break
            stop = min(end, piece.end)
            record = piece.record
            try:
                stored = os.pread(self._fd, self._stored(record), record.place)
            except OSError as error:
                raise RescueError(f"{self._path} cannot be read: {error.strerror}.") from error
            if len(stored) != self._stored(record):
                raise RescueError(f"{self._path} was cut short by something else.")
            buffer[position - start : stop - start] = self._opened(record, stored)[position - record.start : stop - record.start]
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
