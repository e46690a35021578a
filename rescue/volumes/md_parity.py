"""RAID 4, 5 and 6 of Linux software RAID: rows of chunks, one on each member, of which one or two are parity.

Source: the Linux kernel, drivers/md/raid5.c (raid5_compute_sector) and raid5.h.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from rescue.model.extents import ExtentMap
from rescue.model.source import check_range
from rescue.volumes.placed import Placed, joined

_RIGHT: Final = 1 << 0  # parity goes up from the first member, not down from the last
_SYMMETRIC: Final = 1 << 1  # the first chunk of data is behind the parity, not on the first member
_FIRST: Final = 4  # all parity is on the first members
_LAST: Final = 5


class Layout(msgspec.Struct, frozen=True):
    """``parity`` chunks of each row, rotated as ``number`` says."""

    number: int
    parity: int

    def member(self, row: int, index: int, disks: int) -> int:
        """The member that holds chunk ``index`` of the data of a row."""
        if self.number == _FIRST:
            return index + self.parity
        if self.number == _LAST:
            return index
        first = row % disks if self.number & _RIGHT else disks - 1 - row % disks
        if self.number & _SYMMETRIC:
            return (first + self.parity + index) % disks
        taken = {(first + at) % disks for at in range(self.parity)}
        return [member for member in range(disks) if member not in taken][index]


def layout_of(level: int, number: int) -> Layout | None:
    """The layout of an array of level 4, 5 or 6; None for those that only conversions between levels make."""
    if level == 4:
        return Layout(_LAST, 1)
    return Layout(number, 2 if level == 6 else 1) if 0 <= number <= _LAST else None


class Parity:
    """The data of an array. Of a row all is kept that stands at the same place of its chunks, so that parity stays right."""

    def __init__(self, parts: Sequence[Placed], chunk: int, layout: Layout) -> None:
        if len({part.size for part in parts}) != 1 or parts[0].size % chunk:
            raise ValueError("members have one size, a multiple of the chunk")
        self._parts = tuple(parts)
        self._chunk = chunk
        self._layout = layout
        self._data = len(parts) - layout.parity
        self._size = parts[0].size * self._data

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
            row, index = divmod(number, self._data)
            length = min(len(buffer) - done, self._chunk - inside)
            member = self._layout.member(row, index, len(self._parts))
            self._parts[member].pread_into(buffer[done : done + length], row * self._chunk + inside)
            done += length

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed."""
        check_range(self._size, 0, used.end)
        rows = ExtentMap(sorted(self._rows(used)))
        return joined(part.down(rows) for part in self._parts)

    def _rows(self, used: ExtentMap) -> Iterator[tuple[int, int]]:
        """The bytes of each member that stand in a row with used ones."""
        for start, end in used:
            first, low = divmod(start, self._chunk)
            last, high = divmod(end - 1, self._chunk)
            row = first // self._data * self._chunk
            if first == last:
                yield row + low, row + high + 1
            else:
                yield row, (last // self._data + 1) * self._chunk
