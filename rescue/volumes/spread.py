"""Content in chunks that are stored anywhere, each perhaps several times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rescue.model.extents import ExtentMap
from rescue.model.source import check_range
from rescue.volumes.placed import Placed, joined


class Piece(NamedTuple):
    """A copy of a chunk: the part that holds it, and the number of the chunk there."""

    part: int
    at: int


class Spread:
    """``count`` chunks, of which ``places`` tells where the copies are: read from the first, kept of all."""

    def __init__(self, parts: Sequence[Placed], chunk: int, count: int, places: Callable[[int], Sequence[Piece]]) -> None:
        self._parts = tuple(parts)
        self._chunk = chunk
        self._places = places
        self._size = count * chunk

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
            number, inside = divmod(offset + done, self._chunk)
            length = min(len(buffer) - done, self._chunk - inside)
            part, at = self._places(number)[0]
            self._parts[part].pread_into(buffer[done : done + length], at * self._chunk + inside)
            done += length

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed."""
        check_range(self._size, 0, used.end)
        found: list[list[tuple[int, int]]] = [[] for _ in self._parts]
        for start, end in used:
            for number in range(start // self._chunk, -(-end // self._chunk)):
                low = max(start - number * self._chunk, 0)
                high = min(end - number * self._chunk, self._chunk)
                for part, at in self._places(number):
                    found[part].append((at * self._chunk + low, at * self._chunk + high))
        return joined(part.down(ExtentMap(sorted(ranges))) for part, ranges in zip(self._parts, found, strict=True))
