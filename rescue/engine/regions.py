"""How a disk is cut up for an image: regions with a chunk grid of their own, and stretches that become frames (pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from rescue.devices.table import head_end
from rescue.images.format import RowKind
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout
from rescue.model.volume import Volume
from rescue.units import MIB

FRAME_SIZE: Final = 8 * MIB
# Zeros in a small gap between partitions are kept as zeros (old boot loaders and signatures of a target must go);
# in a wide one they are nothing.
_SMALL_GAP: Final = 64 * MIB
# Holes up to this size stay inside a frame (as zeros, which compress to nothing) so that frames stay long.
_BRIDGED_HOLE: Final = 2 * MIB


class Region(msgspec.Struct, frozen=True):
    """A stretch of the disk with a chunk grid of its own: a partition or a stretch between partitions."""

    start: int
    end: int
    name: str  # for messages: "partition 2 (ntfs)"
    allocated: ExtentMap  # absolute offsets
    zero_kind: RowKind  # what a chunk is that holds allocated bytes, all of them zero


class Stretch(NamedTuple):
    """The bytes ``[start, end)`` of the disk: a frame to be (``extents`` are to be read), or nothing (no extents)."""

    start: int
    end: int
    region: Region
    extents: tuple[Extent, ...]

    @property
    def is_first(self) -> bool:
        """Whether what is read first of its region is in it: of a file system, what says in which state it is."""
        first = next(iter(self.region.allocated), None)
        return first is not None and self.start <= first.start < self.end

    def parts(self, size: int) -> Iterator[Stretch]:
        """The same, cut into pieces of ``size`` bytes and a rest."""
        extents = deque(self.extents)
        for start in range(self.start, self.end, size):
            end = min(start + size, self.end)
            inside: list[Extent] = []
            while extents and extents[0].start < end:
                extent = extents.popleft()
                inside.append(Extent(extent.start, min(extent.end, end)))
                if extent.end > end:
                    extents.appendleft(Extent(end, extent.end))
            yield Stretch(start, end, self.region, tuple(inside))


def tail_of(layout: Layout) -> Extent:
    """The backup GPT behind the last partition, which a restore writes late and on a bigger disk elsewhere; else empty."""
    floor = max((p.end for p in layout.partitions), default=layout.size)
    behind = [e for e in layout.table if e.start >= max(floor, head_end(layout))]
    if layout.label != "gpt" or not behind:
        return Extent(layout.size, layout.size)
    return Extent(min(e.start for e in behind), max(e.end for e in behind))


def regions_of(layout: Layout, volumes: Sequence[tuple[Volume, ExtentMap]]) -> list[Region]:
    """Cut the disk into regions that cover it without overlap; its head and its tail get borders of their own."""
    regions: list[Region] = []
    for volume, extents in volumes:
        what = f"partition {volume.partition}" if volume.partition else "the file system"
        name = f"{what} ({volume.identity.type or 'unknown content'})"
        regions.append(Region(volume.start, volume.end, name, extents, RowKind.ZERO))
    tail = tail_of(layout)
    borders = (head_end(layout), tail.start, tail.end)
    for gap in ExtentMap((r.start, r.end) for r in regions).complement(layout.size):
        cuts = sorted({gap.start, gap.end, *(b for b in borders if gap.start < b < gap.end)})
        for start, end in pairwise(cuts):
            kind = RowKind.ZERO if end - start <= _SMALL_GAP else RowKind.HOLE
            regions.append(Region(start, end, "the space between partitions", ExtentMap([(start, end)]), kind))
    return sorted(regions, key=lambda r: r.start)


def stretches_of(region: Region, chunk_size: int) -> Iterator[Stretch]:
    """Cut a region into stretches, in order, that cover it: frames of whole chunks, and emptiness between them."""
    kept = region.allocated.clip(region.start, region.end).shift(-region.start)
    on_grid = kept.align(chunk_size, region.end - region.start).shift(region.start)
    runs: list[Extent] = []
    for run in on_grid:
        if runs and run.start - runs[-1].end <= _BRIDGED_HOLE:
            runs[-1] = Extent(runs[-1].start, run.end)
        else:
            runs.append(run)
    position = region.start
    for run in runs:
        if position < run.start:
            yield Stretch(position, run.start, region, ())
        for start in range(run.start, run.end, FRAME_SIZE):
            end = min(start + FRAME_SIZE, run.end)
            yield Stretch(start, end, region, tuple(region.allocated.overlapping(start, end)))
        position = run.end
    if position < region.end:
        yield Stretch(position, region.end, region, ())
