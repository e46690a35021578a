"""Source and Sink: bytes addressed by offset, with no shared position. A disk, a slice of one, a file, an image."""

from __future__ import annotations

from typing import Protocol

from rescue.errors import FormatError
from rescue.model.extents import ExtentMap


class Source(Protocol):
    """Readable bytes ``[0, size)``. A short read is an error, never a shorter answer."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def pread(self, length: int, offset: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``. Raises SourceReadError; FormatError when outside of the source."""
        ...

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer`` from ``offset``. Raises as :meth:`pread`."""
        ...


class Sink(Protocol):
    """Writable bytes ``[0, size)``."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of ``data`` at ``offset``. Raises TargetWriteError."""
        ...

    def zero(self, start: int, end: int) -> None:
        """Make ``[start, end)`` read as zeros, by the cheapest means the target has. Raises TargetWriteError."""
        ...

    def flush(self) -> None:
        """Return only when everything written is on the medium. Raises TargetWriteError."""
        ...


def check_range(size: int, offset: int, length: int) -> None:
    """Raise FormatError when ``[offset, offset + length)`` is not inside ``[0, size)``."""
    if offset < 0 or length < 0 or offset + length > size:
        raise FormatError(f"{length} bytes at offset {offset} are outside of a source of {size} bytes.")


class BytesSource:
    """A Source over bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._data)

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        return bytes(self._data[offset : offset + length])

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        check_range(self.size, offset, len(buffer))
        buffer[:] = self._data[offset : offset + len(buffer)]


class SliceSource:
    """The bytes ``[start, end)`` of another Source: a partition of a disk."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        check_range(source.size, start, end - start)
        self._source = source
        self._start = start
        self._size = end - start

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self._size, offset, length)
        return self._source.pread(length, self._start + offset)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        check_range(self._size, offset, len(buffer))
        self._source.pread_into(buffer, self._start + offset)


class MemorySink:
    """A Sink and Source in memory, for dry runs and tests."""

    def __init__(self, size: int, fill: bytes = b"\x00") -> None:
        self.data = bytearray(fill * (size // len(fill) + 1))[:size]
        self.written = ExtentMap()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """See Sink."""
        check_range(self.size, offset, len(data))
        self.data[offset : offset + len(data)] = data
        self.written = self.written.union(ExtentMap([(offset, offset + len(data))]))

    def zero(self, start: int, end: int) -> None:
        """See Sink."""
        self.pwrite(bytes(end - start), start)

    def flush(self) -> None:
        """See Sink."""

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        return bytes(self.data[offset : offset + length])

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)
