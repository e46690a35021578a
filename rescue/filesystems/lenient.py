"""A Source with unreadable parts as one that can be read everywhere: zeros where nothing can be had."""

from __future__ import annotations

from rescue.errors import SourceReadError
from rescue.model.extents import ExtentMap
from rescue.model.source import Source, check_range


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


class Witness:
    """A Source of zeros that notes which parts of ``bad`` are asked for."""

    def __init__(self, size: int, bad: ExtentMap) -> None:
        self.size = size
        self._bad = bad
        self._touched: list[tuple[int, int]] = []

    @property
    def touched(self) -> ExtentMap:
        """The parts of ``bad`` that were asked for."""
        return ExtentMap(self._touched)

    @property
    def count(self) -> int:
        """Grows with each touch."""
        return len(self._touched)

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        self._touched.extend(self._bad.overlapping(offset, offset + length))
        return bytes(length)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)
