"""Extent and ExtentMap: sets of bytes as sorted, disjoint, coalesced half-open ranges."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
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
        last = -1  # end of what is there
        for start, end in pairs:
            if end <= start:
                continue
            if start < 0:
                raise ValueError(f"an extent cannot start before zero: {start}")
            if start > last:
                starts.append(start)
                ends.append(end)
                last = end
            elif start >= starts[-1]:
                if end > last:
                    ends[-1] = last = end
            else:
                # Rare: most maps are made in order. The rest is sorted in with what is there.
                unsorted = [*zip(starts, ends, strict=True), (start, end), *pairs]
                rest = ExtentMap(sorted(unsorted))
                starts, ends = rest._starts, rest._ends
                break
        self._starts = starts
        self._ends = ends

    @classmethod
    def _of(cls, starts: array[int], ends: array[int]) -> ExtentMap:
        """A map of arrays that are in order as they are."""
        made = cls()
        made._starts, made._ends = starts, ends
        return made

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
        return iter(self.clip(start, end))

    def clip(self, start: int, end: int) -> ExtentMap:
        """The part of the set inside ``[start, end)``."""
        low, high = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if low >= high or start >= end:
            return ExtentMap()
        starts, ends = self._starts[low:high], self._ends[low:high]
        starts[0], ends[-1] = max(starts[0], start), min(ends[-1], end)
        return ExtentMap._of(starts, ends)

    def shift(self, offset: int) -> ExtentMap:
        """The set moved up by ``offset`` bytes (down when negative; never below zero)."""
        if not offset or not self:
            return self
        if self._starts[0] + offset < 0:
            raise ValueError(f"an extent cannot start before zero: {self._starts[0] + offset}")
        starts, ends = (array("q", [place + offset for place in places]) for places in (self._starts, self._ends))
        return ExtentMap._of(starts, ends)

    def union(self, other: ExtentMap) -> ExtentMap:
        """Bytes that are in either set."""
        return ExtentMap(merge(self, other))

    def complement(self, size: int) -> ExtentMap:
        """Bytes of ``[0, size)`` that are not in the set."""
        inside = self.clip(0, size)
        starts, ends = array("q", [0]) + inside._ends, inside._starts + array("q", [size])
        low, high = 0 if starts[0] < ends[0] else 1, len(starts) if starts[-1] < ends[-1] else len(starts) - 1
        return ExtentMap._of(starts[low:high], ends[low:high])

    def intersection(self, other: ExtentMap) -> ExtentMap:
        """Bytes that are in both sets."""
        small, large = (self, other) if len(self) <= len(other) else (other, self)
        starts, ends = array("q"), array("q")
        for extent in small:
            part = large.clip(*extent)
            starts += part._starts
            ends += part._ends
        return ExtentMap._of(starts, ends)

    def difference(self, other: ExtentMap) -> ExtentMap:
        """Bytes of this set that are not in the other."""
        return self.intersection(other.complement(max(self.end, other.end)))

    def align(self, unit: int, limit: int) -> ExtentMap:
        """The set with every extent widened to multiples of ``unit``, cut at ``limit``."""
        pairs = zip(self._starts, self._ends, strict=True)
        return ExtentMap((start - start % unit, min(-(-end // unit) * unit, limit)) for start, end in pairs)
