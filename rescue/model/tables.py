"""Which bytes of a disk the table of a Layout takes: GPT copies, and the EBRs that describe logical partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rescue.errors import RefusedError
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout, Partition
from rescue.units import align_down, align_up

MBR_SECTORS: Final = 1 << 32  # an MBR's start and length have 32 bits
ENTRY_SIZE: Final = 128
_ENTRIES: Final = 128
_MAX_ENTRIES: Final = 1024


def entry_count(highest: int, usable_start: int, sector_size: int) -> int:
    """Entries of a GPT whose highest partition number is ``highest``: 128, more when needed, fewer when there is no room.

    ``usable_start`` is the first byte that a partition may have. Raises RefusedError when there is no room for them.
    """
    wanted = max(_ENTRIES, align_up(highest, 32))
    count = min(wanted, max(usable_start - 2 * sector_size, 0) // ENTRY_SIZE)
    if highest > _MAX_ENTRIES or count < max(highest, 1):
        raise RefusedError(
            f"The GPT has room for only {min(count, _MAX_ENTRIES)} partitions, none for one with the number {highest}.",
            "Leave partitions out, or make a new table.",
        )
    return count


def entry_room(layout: Layout) -> int:
    """How many entries both copies of the GPT of ``layout`` have room for, between its ends and what partitions may have."""
    sector = layout.sector_size
    front = layout.usable_start - 2 * sector
    back = align_down(layout.size, sector) - sector - layout.usable_end
    return max(min(front, back), 0) // ENTRY_SIZE


def array_bytes(count: int, sector_size: int) -> int:
    """Bytes that ``count`` entries of a GPT take, in whole sectors."""
    return align_up(count * ENTRY_SIZE, sector_size)


def gpt_extents(size: int, sector_size: int, count: int) -> tuple[Extent, ...]:
    """The bytes of both copies of a GPT with ``count`` entries, and of the protective MBR, on a disk of ``size`` bytes."""
    array = array_bytes(count, sector_size)
    end = align_down(size, sector_size)
    return Extent(0, 2 * sector_size + array), Extent(end - sector_size - array, end)


def logical_partitions(partitions: Sequence[Partition]) -> list[Partition]:
    """The logical partitions in the order of their numbers, which is the order of their chain."""
    return sorted((p for p in partitions if p.kind == "logical"), key=lambda p: p.number)


def link_offsets(layout: Layout) -> dict[int, int]:
    """Where the EBR of each logical partition lies: byte offsets by partition number.

    The first one's is at the start of the extended partition; the others' are the sectors that ``Layout.table`` names, or
    the sector right before the partition. Raises RefusedError when there is no room for one.
    """
    logical = logical_partitions(layout.partitions)
    if not logical:
        return {}
    extended = next((p for p in layout.partitions if p.kind == "extended"), None)
    if extended is None:
        raise RefusedError("There are logical partitions, but no extended one that could hold them.")
    sector = layout.sector_size
    data = ExtentMap(sorted((p.start, p.end) for p in layout.data_partitions))

    def is_free(offset: int) -> bool:
        return not any(data.overlapping(offset, offset + sector))

    named = [
        offset
        for extent in layout.table
        for offset in range(align_up(max(extent.start, extended.start), sector), min(extent.end, extended.end), sector)
        if offset != extended.start and is_free(offset)
    ]
    found: dict[int, int] = {}
    for partition in sorted(logical, key=lambda p: p.start):
        before = partition.start - sector
        if partition is logical[0]:
            offset = extended.start
        else:
            offset = max((o for o in named if o < partition.start), default=before)
            if offset in named:
                named.remove(offset)
        if not extended.start <= offset <= before or not is_free(offset) or offset in found.values():
            raise RefusedError(
                f"There is no room before logical partition {partition.number} for the sector that describes it.",
                "Move the partition by 1 MiB.",
            )
        found[partition.number] = offset
    return found
