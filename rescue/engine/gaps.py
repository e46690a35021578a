"""Reading on over what a failing disk does not give: where the gaps are, and how chunks are cut around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rescue.engine.reading import read_extents
from rescue.engine.salvage import Salvage
from rescue.model.extents import Extent, ExtentMap

NO_GAPS = ExtentMap()


class _Gapped:
    """A Source for reading extents that notes what is missing, and gives zeros there."""

    def __init__(self, salvage: Salvage) -> None:
        self.size = salvage.size
        self.missing: list[Extent] = []
        self._salvage = salvage

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        buffer = bytearray(length)
        self.pread_into(memoryview(buffer), offset)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        self.missing += self._salvage.read(offset, offset + len(buffer), buffer)


def read_around(salvage: Salvage, start: int, end: int, extents: Iterable[Extent], buffer: memoryview) -> ExtentMap:
    """As ``read_extents``, but what cannot be read is zeros in ``buffer``, and is the answer: of ``extents``, no more.

    Raises SourceReadError when the disk does not answer any more.
    """
    wanted = ExtentMap(extents)
    gapped = _Gapped(salvage)
    read_extents(gapped, start, end, wanted, buffer)
    # Of bytes that belong to nothing it does not matter whether they can be read.
    return ExtentMap(gapped.missing).intersection(wanted) if gapped.missing else NO_GAPS


def pieces(start: int, end: int, chunk: int, gaps: ExtentMap) -> Iterator[tuple[int, int, bool]]:
    """``[start, end)`` as ``(start, end, is it missing)``: on the grid from ``start``, cut again where gaps begin and end."""
    for low in range(start, end, chunk):
        high = min(low + chunk, end)
        position = low
        for gap in gaps.overlapping(low, high) if gaps else ():
            if position < gap.start:
                yield position, gap.start, False
            yield gap.start, gap.end, True
            position = gap.end
        if position < high:
            yield position, high, False
