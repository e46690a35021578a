"""A whole disk as the parts of a transfer: its volumes by what they use, what is between them, and what is written last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rescue.devices.table import head_end, read_layout, tables_for
from rescue.engine.reading import read_extents
from rescue.engine.regions import Region, regions_of, tail_of
from rescue.engine.transfer_parts import Part, merged
from rescue.images.format import RowKind
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout
from rescue.model.source import Source, check_range
from rescue.model.volume import Volume


def parts_of(
    source: Source, layout: Layout, volumes: Sequence[tuple[Volume, ExtentMap]], starts: Mapping[int, int] | None = None
) -> list[Part]:
    """The disk in parts, but for its backup GPT. Volumes go where ``starts`` says (by partition), else where they are.

    What is between partitions has a place only on a disk where none of them moves.
    """
    starts = starts or {}
    by_start = {volume.start: volume for volume, _ in volumes}
    moves = any(starts.get(volume.partition, volume.start) != volume.start for volume, _ in volumes)
    tail = tail_of(layout)
    parts = []
    for region in regions_of(layout, volumes):
        volume = by_start.get(region.start)
        if (volume is None and moves) or (tail.length and (region.start, region.end) == tail):
            continue
        start = starts.get(volume.partition, region.start) if volume else region.start
        parts.append(_part(source, region, start))
    return parts


def _part(source: Source, region: Region, start: int) -> Part:
    end = start + region.end - region.start
    zeros = region.zero_kind == RowKind.ZERO
    return Part(region.name, source, region.allocated, region.start, region.end, start, end, zeros)


def late_of(
    source: Source, layout: Layout, volumes: Sequence[tuple[Volume, ExtentMap]], new_size: int
) -> list[tuple[int, bytes]]:
    """The head of a disk and its partition tables, as they must be on a target of ``new_size`` bytes: ``(offset, data)``.

    Raises SourceReadError; RefusedError when the partitions do not fit, FormatError when no copy of a GPT is good.
    """
    length = head_end(layout)
    head = bytearray(length)
    used = ExtentMap(
        extent for region in regions_of(layout, volumes) for extent in region.allocated.overlapping(0, length)
    )  # fmt: skip
    read_extents(source, 0, length, used, memoryview(head))
    late = [(0, bytes(head)), *tables_for(source, layout, new_size)]
    if layout.label == "gpt" and new_size // layout.sector_size == layout.size // layout.sector_size:
        # Between the entries of the backup GPT and its header there may be more than the tables say.
        tail = tail_of(layout)
        late.append((tail.start, source.pread(tail.length, tail.start)))
    return merged(late)


def layout_with(late: Sequence[tuple[int, bytes]], size: int, sector_size: int) -> Layout:
    """How the partition table of a disk reads of which only these bytes are known."""
    return read_layout(_Patches(late, size), sector_size)


class _Patches:
    """A Source that is zeros but for some bytes."""

    def __init__(self, patches: Sequence[tuple[int, bytes]], size: int) -> None:
        self._patches = patches
        self._size = size

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        buffer = bytearray(length)
        self.pread_into(memoryview(buffer), offset)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        end = offset + len(buffer)
        check_range(self._size, offset, len(buffer))
        buffer[:] = bytes(len(buffer))
        for start, data in self._patches:
            low, high = max(offset, start), min(end, start + len(data))
            if low < high:
                buffer[low - offset : high - offset] = data[low - start : high - start]
