"""What a transfer copies, cut up: parts, pieces that are read at once, and the spans of them that are written and proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from rescue.engine.regions import Region, Stretch, stretches_of
from rescue.images.format import RowKind
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.records import replace
from rescue.units import KIB

CHUNK: Final = 256 * KIB  # is compared, and written or not, as one
_GRAIN: Final = 4096  # extents are widened to this, so that direct I/O can be used


class Part(msgspec.Struct, frozen=True):
    """The bytes ``[start, end)`` of ``source``, of which ``extents`` (offsets in it) are in use, and where they go on the target.

    There may be more room than is filled. Free space is left alone there. With ``zeros`` zeros that are in use are made zeros
    on the target; without, as in wide stretches outside of partitions, nothing is written for them. ``origin`` is where
    the offsets in messages count from, when that is not its start.
    """

    name: str  # for messages: "partition 2 (ntfs)"
    source: Source
    extents: ExtentMap
    start: int
    end: int
    target_start: int
    target_end: int
    zeros: bool = True
    origin: int = -1

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= self.source.size:
            raise ValueError(f"{self.name} is outside of its source: {self.start} to {self.end} of {self.source.size}")
        if self.target_start < 0 or self.end - self.start > self.target_end - self.target_start:
            raise ValueError(f"{self.name} does not fit: {self.end - self.start} bytes at {self.target_start}")

    @property
    def begins(self) -> int:
        """The offset in the source that messages count from."""
        return self.start if self.origin < 0 else self.origin

    def without(self, taken: ExtentMap) -> Iterator[Part]:
        """What of it is outside of some bytes of the target."""
        extents = self.extents.clip(self.start, self.end).shift(-self.start).align(_GRAIN, self.end - self.start)
        extents = extents.shift(self.start)
        shift = self.target_start - self.start
        free = ExtentMap([(self.target_start, self.target_start + self.end - self.start)]).difference(taken)
        for low, high in free:
            start, end = low - shift, high - shift
            inside = extents.clip(start, end)
            yield replace(
                self, extents=inside, start=start, end=end, target_start=low, target_end=high, origin=self.begins
            )  # fmt: skip


class Span(NamedTuple):
    """The bytes ``[start, end)`` of a piece: what is in use of one chunk, from its first to its last byte."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes."""
        return self.end - self.start


class Piece(NamedTuple):
    """A stretch of a part that is read at once, with what of it is to be on the target at ``target_start`` and behind."""

    part: Part
    stretch: Stretch
    target_start: int
    spans: tuple[Span, ...]


def pieces(parts: Sequence[Part]) -> Iterator[Piece]:
    """All pieces of the parts that hold anything, in order; the same each time."""
    for part in parts:
        region = Region(part.start, part.end, part.name, part.extents, RowKind.ZERO)
        for stretch in stretches_of(region, CHUNK):
            if stretch.extents:
                yield Piece(part, stretch, part.target_start + stretch.start - part.start, tuple(_spans(stretch)))


def _spans(stretch: Stretch) -> Iterator[Span]:
    number, low, high = -1, 0, 0
    for extent in stretch.extents:
        start, end = extent.start - stretch.start, extent.end - stretch.start
        while start < end:
            chunk = start // CHUNK
            cut = min(end, (chunk + 1) * CHUNK)
            if chunk != number:
                if number >= 0:
                    yield Span(low, high)
                number, low = chunk, start
            high = cut
            start = cut
    if number >= 0:
        yield Span(low, high)


def runs(spans: Sequence[Span]) -> Iterator[Span]:
    """Spans that touch as one: a single read or write."""
    start = end = -1
    for span in spans:
        if span.start != end:
            if end >= 0:
                yield Span(start, end)
            start = span.start
        end = span.end
    if end >= 0:
        yield Span(start, end)


def merged(table: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """What is to be written late, in order and without overlaps: where there are any, the later entry is right."""
    found: list[tuple[int, bytes]] = []
    for start, end in ExtentMap(sorted((offset, offset + len(data)) for offset, data in table)):
        content = bytearray(end - start)
        for offset, data in table:
            if start <= offset < end:
                content[offset - start : offset - start + len(data)] = data
        found.append((start, bytes(content)))
    return found


def late_ranges(table: Sequence[tuple[int, bytes]]) -> ExtentMap:
    """The bytes of the target that are written late."""
    return ExtentMap((offset, offset + len(data)) for offset, data in table)
