"""Extent and ExtentMap: sets of bytes as sorted, disjoint, coalesced half-open ranges."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import NamedTuple


class Extent(NamedTuple):
    """The bytes ``[start, end)``."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes in the extent."""
        return self.end - self.start


class ExtentMap:
    """An immutable set of bytes. Empty ranges vanish; touching and overlapping ranges are one.

    Kept as two flat arrays, because the map of a fragmented 8 TiB volume has millions of extents.
    """

    __slots__ = ("_ends", "_starts")
    _starts: array[int]
    _ends: array[int]

    def __init__(self, extents: Iterable[tuple[int, int]] = ()) -> None:
        starts = array("q")
        ends = array("q")
        pairs = iter(extents)
        for start, end in pairs:
            if end <= start:
                continue
            if start < 0:
                raise ValueError(f"an extent cannot start before zero: {start}")
            if not ends or start > ends[-1]:
                starts.append(start)
                ends.append(end)
            elif start >= starts[-1]:
                ends[-1] = max(end, ends[-1])
            else:
                # Rare: most maps are made in order. The rest is sorted in with what is there.
                unsorted = [*zip(starts, ends, strict=True), (start, end), *pairs]
                rest = ExtentMap(sorted(unsorted))
                starts, ends = rest._starts, rest._ends
                break
        self._starts = starts
        self._ends = ends

    def __iter__(self) -> Iterator[Extent]:
        return map(Extent, self._starts, self._ends)

    def __len__(self) -> int:
        return len(self._starts)

    def __bool__(self) -> bool:
        return len(self._starts) > 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExtentMap):
            return NotImplemented
        return self._starts == other._starts and self._ends == other._ends

    def __hash__(self) -> int:
        return hash((self._starts.tobytes(), self._ends.tobytes()))

    def __repr__(self) -> str:
        shown = ", ".join(f"[{e.start:#x}, {e.end:#x})" for e, _ in zip(self, range(6), strict=False))
        return f"ExtentMap({shown}{', …' if len(self) > 6 else ''})"

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self._starts, offset) - 1
        return index >= 0 and offset < self._ends[index]

    @property
    def total(self) -> int:
        """Bytes in the set."""
        return sum(self._ends) - sum(self._starts)

    @property
    def end(self) -> int:
        """End of the last extent; 0 when empty."""
        return self._ends[-1] if self._ends else 0

    def overlapping(self, start: int, end: int) -> Iterator[Extent]:
        """The parts of the set inside ``[start, end)``, clipped to it, in order."""
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self._starts) and self._starts[index] < end:
            low = max(self._starts[index], start)
            high = min(self._ends[index], end)
            if low < high:
                yield Extent(low, high)
            index += 1

    def clip(self, start: int, end: int) -> ExtentMap:
        """The part of the set inside ``[start, end)``."""
        return ExtentMap(self.overlapping(start, end))

    def shift(self, offset: int) -> ExtentMap:
        """The set moved up by ``offset`` bytes (down when negative; never below zero)."""
        return ExtentMap((start + offset, end + offset) for start, end in zip(self._starts, self._ends, strict=True))

    def union(self, other: ExtentMap) -> ExtentMap:
        """Bytes that are in either set."""
        return ExtentMap(merge(self, other))

    def complement(self, size: int) -> ExtentMap:
        """Bytes of ``[0, size)`` that are not in the set."""
        return ExtentMap(self._gaps(size))

    def _gaps(self, size: int) -> Iterator[tuple[int, int]]:
        position = 0
        for extent in self.overlapping(0, size):
            yield position, extent.start
            position = extent.end
        yield position, size

    def intersection(self, other: ExtentMap) -> ExtentMap:
        """Bytes that are in both sets."""
        small, large = (self, other) if len(self) <= len(other) else (other, self)
        return ExtentMap(part for extent in small for part in large.overlapping(*extent))

    def difference(self, other: ExtentMap) -> ExtentMap:
        """Bytes of this set that are not in the other."""
        return self.intersection(other.complement(max(self.end, other.end)))

    def align(self, unit: int, limit: int) -> ExtentMap:
        """The set with every extent widened to multiples of ``unit``, cut at ``limit``."""
        return ExtentMap((e.start - e.start % unit, min(-(-e.end // unit) * unit, limit)) for e in self)
