"""Sources that are made of parts of others, and that know where on the disk their bytes are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import Protocol

from rescue.model.extents import Extent, ExtentMap
from rescue.model.source import Source, check_range


class Placed(Source, Protocol):
    """A Source whose bytes are those of a disk, in whatever order or encryption."""

    def down(self, used: ExtentMap) -> ExtentMap:
        """The bytes of the disk that ``used``, bytes of this source, are made of. Raises FormatError when outside of it."""
        ...


def joined(maps: Iterable[ExtentMap]) -> ExtentMap:
    """The bytes that are in any of the maps."""
    return ExtentMap(sorted(chain.from_iterable(maps)))


class WholeDisk:
    """A disk, or a part of one, as the lowest of all."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def size(self) -> int:
        """Bytes."""
        return self._source.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        return self._source.pread(length, offset)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        self._source.pread_into(buffer, offset)

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed."""
        check_range(self.size, 0, used.end)
        return used


class Window:
    """The bytes ``[start, end)`` of another one."""

    def __init__(self, lower: Placed, start: int, end: int) -> None:
        check_range(lower.size, start, end - start)
        self._lower = lower
        self._start = start
        self._size = end - start

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self._size, offset, length)
        return self._lower.pread(length, self._start + offset)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        check_range(self._size, offset, len(buffer))
        self._lower.pread_into(buffer, self._start + offset)

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed."""
        check_range(self._size, 0, used.end)
        return self._lower.down(used.shift(self._start))


class Joined:
    """Parts one behind the other: a linear volume of several segments."""

    def __init__(self, parts: Sequence[Placed]) -> None:
        self._parts = tuple(parts)
        ends = list(accumulate(part.size for part in parts))
        self._starts = [0, *ends[:-1]]
        self._size = ends[-1] if ends else 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self._size, offset, length)
        buffer = bytearray(length)
        self.pread_into(memoryview(buffer), offset)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        check_range(self._size, offset, len(buffer))
        done = 0
        while done < len(buffer):
            index = bisect_right(self._starts, offset + done) - 1
            inside = offset + done - self._starts[index]
            part = self._parts[index]
            length = min(len(buffer) - done, part.size - inside)
            part.pread_into(buffer[done : done + length], inside)
            done += length

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed."""
        check_range(self._size, 0, used.end)
        return joined(
            part.down(used.clip(start, start + part.size).shift(-start))
            for start, part in zip(self._starts, self._parts, strict=True)
        )


class Striped:
    """Parts of the same size, of which each gives ``stripe`` bytes in turn (RAID 0, striped logical volumes).

    The parts are a multiple of ``stripe`` long.
    """

    def __init__(self, parts: Sequence[Placed], stripe: int) -> None:
        sizes = {part.size for part in parts}
        if len(sizes) != 1 or stripe <= 0 or next(iter(sizes)) % stripe:
            raise ValueError("stripes need parts of one size, a multiple of the stripe")
        self._parts = tuple(parts)
        self._stripe = stripe
        self._size = sum(part.size for part in parts)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self._size, offset, length)
        buffer = bytearray(length)
        self.pread_into(memoryview(buffer), offset)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        check_range(self._size, offset, len(buffer))
        done = 0
        while done < len(buffer):
            number, inside = divmod(offset + done, self._stripe)
            row, index = divmod(number, len(self._parts))
            length = min(len(buffer) - done, self._stripe - inside)
            self._parts[index].pread_into(buffer[done : done + length], row * self._stripe + inside)
            done += length

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed."""
        check_range(self._size, 0, used.end)
        return joined(
            part.down(ExtentMap(self._in_part(index, extent) for extent in used)) for index, part in enumerate(self._parts)
        )

    def _in_part(self, index: int, extent: Extent) -> tuple[int, int]:
        """The bytes of one part that an extent of the whole takes: its stripes there follow each other."""
        return self._edge(index, extent.start), self._edge(index, extent.end)

    def _edge(self, index: int, position: int) -> int:
        """How many bytes of a part are in front of a position of the whole."""
        number, inside = divmod(position, self._stripe)
        row, at = divmod(number, len(self._parts))
        if index < at:
            return (row + 1) * self._stripe
        return row * self._stripe + (inside if index == at else 0)


class Mirrored:
    """Parts that hold the same: read from the first, kept of all."""

    def __init__(self, parts: Sequence[Placed]) -> None:
        if len({part.size for part in parts}) != 1:
            raise ValueError("copies have one size")
        self._parts = tuple(parts)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._parts[0].size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        return self._parts[0].pread(length, offset)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        self._parts[0].pread_into(buffer, offset)

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed."""
        return joined(part.down(used) for part in self._parts)
