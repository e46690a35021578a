"""A Source that is put together of others at places of their own, with zeros between them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from rescue.model.source import Source, check_range


class Composed:
    """``size`` bytes, with each of ``parts`` from its offset on. They do not overlap. Threads may read it that may read those."""

    def __init__(self, size: int, parts: Sequence[tuple[int, Source]]) -> None:
        self._parts = sorted(((start, source) for start, source in parts if source.size), key=lambda part: part[0])
        self._starts = [start for start, _ in self._parts]
        self._size = size
        end = 0
        for start, source in self._parts:
            if start < end or start + source.size > size:
                raise ValueError(f"{source.size} bytes at {start} overlap others, or leave the {size} bytes")
            end = start + source.size

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
            at = offset + done
            index = bisect_right(self._starts, at) - 1
            behind = self._starts[index + 1] if index + 1 < len(self._starts) else self._size
            if index >= 0 and at < self._starts[index] + self._parts[index][1].size:
                start, source = self._parts[index]
                length = min(len(buffer) - done, start + source.size - at)
                source.pread_into(buffer[done : done + length], at - start)
            else:
                length = min(len(buffer) - done, behind - at)
                buffer[done : done + length] = bytes(length)
            done += length
