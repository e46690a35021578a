"""A Source with unreadable parts as one that can be read everywhere: zeros where nothing can be had."""

from __future__ import annotations

from typing import Final

from rescue.errors import SourceReadError
from rescue.model.extents import ExtentMap
from rescue.model.source import Source, check_range

_MANY: Final = 100_000


class LenientSource:
    """Zeros at ``bad``, which is never read, and where a read fails. ``failed`` says that there were such reads."""

    def __init__(self, source: Source, bad: ExtentMap) -> None:
        self._source = source
        self.bad = bad
        self.failed = False

    @property
    def size(self) -> int:
        """Bytes."""
        return self._source.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        holes = list(self.bad.overlapping(offset, offset + length))
        if not holes:
            return self._read(length, offset)
        data = bytearray(length)
        position = offset
        for start, end in [*holes, (offset + length, offset + length)]:
            if position < start:
                data[position - offset : start - offset] = self._read(start - position, position)
            position = end
        return bytes(data)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)

    def _read(self, length: int, offset: int) -> bytes:
        try:
            return self._source.pread(length, offset)
        except SourceReadError:
            self.failed = True
            return bytes(length)


class Touches:
    """Which parts of ``bad`` were asked for. ``count`` grows with each touch."""

    def __init__(self, bad: ExtentMap) -> None:
        self._bad = bad
        self._found: list[tuple[int, int]] = []
        self.count = 0

    def note(self, start: int, end: int) -> None:
        """Take in that ``[start, end)`` was asked for."""
        before = len(self._found)
        self._found.extend(self._bad.overlapping(start, end))
        self.count += len(self._found) - before
        if len(self._found) > _MANY and len(self._found) > 4 * len(self._bad):
            self._found = list(ExtentMap(self._found))  # a hostile volume can lead to the same place for ever

    @property
    def extents(self) -> ExtentMap:
        """The parts of ``bad`` that were asked for."""
        return ExtentMap(self._found)


class Witness:
    """A Source of zeros that notes which parts of ``bad`` are asked for."""

    def __init__(self, size: int, bad: ExtentMap) -> None:
        self.size = size
        self.touches = Touches(bad)

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        self.touches.note(offset, offset + length)
        return bytes(length)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)
