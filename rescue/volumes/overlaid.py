"""A volume of which parts are somewhere else, in any order: thin volumes and snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rescue.errors import FormatError
from rescue.model.extents import ExtentMap
from rescue.model.source import check_range
from rescue.volumes.placed import Placed, joined
from rescue.volumes.runs import Runs


class Part(NamedTuple):
    """Bytes ``[start, end)``, which are at ``target`` of the upper source, or where they are in the lower one (None)."""

    start: int
    end: int
    target: int | None


class Overlaid:
    """``size`` bytes: those of ``runs`` (in bytes) from ``upper``, others from ``lower``, or zeros. Any thread may read.

    ``own`` are bytes of ``upper`` that are kept whatever is used. Raises FormatError when a run leaves ``upper``.
    """

    def __init__(self, size: int, runs: Runs, upper: Placed, lower: Placed | None, own: Iterable[tuple[int, int]] = ()) -> None:
        if runs.highest > upper.size:
            raise FormatError(f"A volume has parts at {runs.highest} of one of {upper.size} bytes.")
        if lower is not None and lower.size < size:
            raise FormatError(f"A volume of {size} bytes is made of one of {lower.size}.")
        self._size = size
        self._runs = runs
        self._upper = upper
        self._lower = lower
        self._own = ExtentMap(own)

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
        for start, end, target in self._parts(offset, offset + len(buffer)):
            piece = buffer[start - offset : end - offset]
            if target is not None:
                self._upper.pread_into(piece, target)
            elif self._lower is not None:
                self._lower.pread_into(piece, start)
            else:
                piece[:] = bytes(len(piece))

    def _parts(self, start: int, end: int) -> Iterator[Part]:
        position = start
        for low, high, target in self._runs.overlapping(start, end):
            if low > position:
                yield Part(position, low, None)
            yield Part(low, high, target)
            position = high
        if position < end:
            yield Part(position, end, None)

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed."""
        check_range(self._size, 0, used.end)
        above: list[tuple[int, int]] = []
        below: list[tuple[int, int]] = []
        for extent in used:
            for start, end, target in self._parts(extent.start, extent.end):
                if target is None:
                    below.append((start, end))
                else:
                    above.append((target, target + end - start))
        found = [self._upper.down(self._own.union(ExtentMap(sorted(above))))]
        if self._lower is not None:
            found.append(self._lower.down(ExtentMap(below)))
        return joined(found)
